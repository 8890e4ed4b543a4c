#!/bin/bash
# Asks through the hook, 50 at once, for as long as /root/asking is there, and writes down what each question came to.
digest=sha256:$(printf 'a1%.0s' {1..32})
descriptor="{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"$digest\",\"size\":5}"

ask() {
    while [ -e /root/asking ]; do
        said=$(/usr/libexec/assayd/assay-verifier -name "registry.example/app:v$1" -digest "$digest" \
            -stdin-media-type application/vnd.oci.descriptor.v1+json <<<"$descriptor")
        case $said in
        "ADMIT by audit mode"*) echo answered ;;
        *) echo "lost: $said" ;;
        esac >>/root/answers
    done
}

rm -f /root/answers
touch /root/asking
for asker in {1..50}; do ask "$asker" & done
wait

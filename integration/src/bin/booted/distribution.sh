# rpm knows nothing of Debian's packages. So that it checks what assayd's package requires, and does not have to be told not to, one of
# its own packages says what this node has: the libraries' versions and symbols as rpm itself finds them, and systemd's version.
# rtld(GNU_HASH), that the loader knows this kind of table, glibc's own package says in words: nothing finds it in a file.
{
    cat <<'END'
Name: node
Version: 1
Release: 1
Summary: What this node has from Debian
License: none
BuildArch: noarch
Provides: /bin/sh
Provides: rtld(GNU_HASH)
END
    echo "Provides: systemd = $(dpkg-query --show --showformat '${Version}' systemd | sed 's/[^0-9.].*//')"
    echo "Provides: ca-certificates = $(dpkg-query --show --showformat '${Version}' ca-certificates | sed 's/[^0-9.].*//')"
    dpkg --listfiles libc6 libgcc-s1 | grep '\.so' | while read -r library; do
        [ ! -f "$library" ] || readlink -f "$library"
    done | sort -u | /usr/lib/rpm/elfdeps --provides | sed 's/^/Provides: /'
    printf '%%description\nWhat this node has from Debian.\n%%files\n'
} >/root/node.spec
rpmbuild --quiet -bb /root/node.spec
rpm --install /root/rpmbuild/RPMS/noarch/node-1-1.noarch.rpm

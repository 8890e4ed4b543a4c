//! The client of revocation endpoints.

use std::sync::Arc;
use std::time::Duration;

use assay_verify::code::Code;
use assay_verify::limits::{
    MAX_CRL_SIZE, MAX_OCSP_RESPONSE_SIZE, MAX_REDIRECTS, MAX_REQUESTS_PER_REVOCATION_HOST, MAX_REVOCATION_MEMORY,
};
use assay_verify::query::{Query, Unanswered};
use assayd::fetch::revocation::{AnswerMemory, Client, EndpointHost, RevocationConfig, Source};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;

use crate::endpoint::{Endpoint, Reply, allowing};
use crate::words::{HOUR, crl, crl_query, ocsp, ocsp_query, try_later};

const SERIAL: &[u8] = &[1, 2, 3];

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn client(config: RevocationConfig) -> Client {
    Client::new(config, AnswerMemory::default())
}

async fn ask(client: &Client, query: &Query) -> Result<Arc<[u8]>, Unanswered> {
    client.ask(query, Source::Any, soon()).await
}

/// Asks for a CRL with a client that may ask the endpoint.
async fn crl_from(endpoint: &Endpoint) -> Result<Arc<[u8]>, Unanswered> {
    ask(&client(allowing(&[endpoint])), &crl_query(&endpoint.url("/a.crl"))).await
}

#[track_caller]
fn check(answer: Result<Arc<[u8]>, Unanswered>, code: Code, fact: &str) {
    let unanswered = answer.unwrap_err();
    assert_eq!(unanswered.code, code, "{}", unanswered.reason);
    assert!(unanswered.reason.to_string().contains(fact), "{}", unanswered.reason);
}

#[tokio::test]
async fn a_crl_is_fetched_with_get_and_without_credentials() {
    let list = crl(0, HOUR);
    let endpoint = Endpoint::that(Reply::Answer(list.to_vec())).await;
    assert_eq!(crl_from(&endpoint).await.unwrap(), list);
    let asked = &endpoint.asked()[0];
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/a.crl"));
    for absent in ["authorization", "cookie", "referer", "cache-control"] {
        assert!(!asked.head.contains(absent), "{}", asked.head);
    }
}

#[tokio::test]
async fn who_wants_the_next_answer_asks_past_the_caches() {
    let endpoint = Endpoint::that(Reply::Answer(crl(0, HOUR).to_vec())).await;
    let client = client(allowing(&[&endpoint]));
    let query = crl_query(&endpoint.url("/a.crl"));
    client.ask(&query, Source::Authority, soon()).await.unwrap();
    assert!(endpoint.asked()[0].head.contains("cache-control: no-cache"));
}

#[tokio::test]
async fn a_short_ocsp_request_is_a_get_that_ends_in_the_request() {
    let answer = ocsp(SERIAL, 0, HOUR);
    for path in ["", "/", "/ocsp", "/ocsp/"] {
        let endpoint = Endpoint::that(Reply::Answer(answer.to_vec())).await;
        let query = ocsp_query(&[endpoint.url(path)], SERIAL);
        assert_eq!(ask(&client(allowing(&[&endpoint])), &query).await.unwrap(), answer);
        let asked = &endpoint.asked()[0];
        assert_eq!(asked.method, "GET");
        let base = path.trim_end_matches('/');
        let encoded = asked.target.strip_prefix(&format!("{base}/")).unwrap();
        assert!(!encoded.contains(['/', '+', '=']), "{encoded}");
        let decoded = encoded.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
        let Query::Ocsp { request, .. } = &query else {
            unreachable!()
        };
        assert_eq!(STANDARD.decode(decoded).unwrap(), **request);
    }
}

#[tokio::test]
async fn a_long_ocsp_request_or_an_address_with_a_query_is_a_post() {
    for (path, serial) in [("/ocsp", &[7; 120][..]), ("/ocsp?ca=1", SERIAL)] {
        let answer = ocsp(serial, 0, HOUR);
        let endpoint = Endpoint::that(Reply::Answer(answer.to_vec())).await;
        let query = ocsp_query(&[endpoint.url(path)], serial);
        assert_eq!(ask(&client(allowing(&[&endpoint])), &query).await.unwrap(), answer);
        let asked = &endpoint.asked()[0];
        assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", path));
        assert!(
            asked.head.contains("content-type: application/ocsp-request"),
            "{}",
            asked.head
        );
        let Query::Ocsp { request, .. } = &query else {
            unreachable!()
        };
        assert_eq!(asked.body, **request);
    }
}

#[tokio::test]
async fn responders_are_asked_in_order_until_one_says_something() {
    let busy = Endpoint::that(Reply::Answer(try_later())).await;
    let broken = Endpoint::that(Reply::Status(500)).await;
    let answer = ocsp(SERIAL, 0, HOUR);
    let good = Endpoint::that(Reply::Answer(answer.to_vec())).await;
    let unused = Endpoint::that(Reply::Silence).await;
    let query = ocsp_query(&[&busy, &broken, &good, &unused].map(|one| one.url("/")), SERIAL);
    let client = client(allowing(&[&busy, &broken, &good, &unused]));
    assert_eq!(ask(&client, &query).await.unwrap(), answer);
    assert_eq!(
        [&busy, &broken, &good, &unused].map(|one| one.asked().len()),
        [1, 1, 1, 0]
    );
}

#[tokio::test]
async fn the_reason_names_every_responder_that_failed() {
    let broken = [
        Endpoint::that(Reply::Status(500)).await,
        Endpoint::that(Reply::Status(404)).await,
    ];
    let query = ocsp_query(&[broken[0].url("/"), broken[1].url("/")], SERIAL);
    let unanswered = ask(&client(allowing(&[&broken[0], &broken[1]])), &query)
        .await
        .unwrap_err();
    assert_eq!(
        unanswered.reason.to_string(),
        format!("{} answered 500; {} answered 404", broken[0].address, broken[1].address)
    );
}

#[tokio::test]
async fn what_is_no_answer_is_unknown_and_never_an_answer() {
    for (reply, fact) in [
        (Reply::Status(404), "answered 404"),
        (Reply::Status(204), "answered 204"),
        (Reply::Status(500), "answered 500"),
        (Reply::Answer(b"<html>sign in</html>".to_vec()), "that are no CRL"),
        (Reply::Answer(Vec::new()), "0 bytes that are no CRL"),
        (Reply::Answer(crl(0, HOUR)[..100].to_vec()), "that are no CRL"),
        (Reply::BreaksOff, "broke off"),
        (
            Reply::Redirect(301, "ftp://127.0.0.1/a".to_owned()),
            "neither HTTP nor HTTPS",
        ),
        (
            Reply::Redirect(301, "file:///etc/passwd".to_owned()),
            "neither HTTP nor HTTPS",
        ),
        (Reply::Redirect(302, "http://u:p@127.0.0.1/".to_owned()), "user name"),
    ] {
        let endpoint = Endpoint::that(reply).await;
        check(crl_from(&endpoint).await, Code::RevocationUnknown, fact);
        assert_eq!(endpoint.asked().len(), 1, "{fact}");
    }
}

#[tokio::test]
async fn an_answer_is_bounded_while_it_is_read() {
    for reply in [Reply::Endless, Reply::Declares(MAX_CRL_SIZE + 1)] {
        let endpoint = Endpoint::that(reply).await;
        check(
            crl_from(&endpoint).await,
            Code::LimitExceeded,
            "larger than 8388608 bytes",
        );
    }
    let endpoint = Endpoint::that(Reply::Answer(vec![0x30; MAX_OCSP_RESPONSE_SIZE + 1])).await;
    let query = ocsp_query(&[endpoint.url("/")], SERIAL);
    let answer = ask(&client(allowing(&[&endpoint])), &query).await;
    check(answer, Code::LimitExceeded, "larger than 65536 bytes");
}

#[tokio::test]
async fn redirects_end() {
    for status in [301, 302, 303, 307, 308] {
        let endpoint = Endpoint::that(Reply::Redirect(status, "/again".to_owned())).await;
        check(crl_from(&endpoint).await, Code::LimitExceeded, "redirects more than");
        assert_eq!(endpoint.asked().len(), MAX_REDIRECTS + 1);
    }
}

#[tokio::test]
async fn a_redirect_is_followed_to_another_endpoint() {
    let list = crl(0, HOUR);
    let target = Endpoint::that(Reply::Answer(list.to_vec())).await;
    let endpoint = Endpoint::that(Reply::Redirect(302, target.url("/b.crl"))).await;
    let client = client(allowing(&[&endpoint, &target]));
    assert_eq!(ask(&client, &crl_query(&endpoint.url("/"))).await.unwrap(), list);
    assert_eq!(target.asked()[0].target, "/b.crl");
}

#[tokio::test]
async fn a_post_is_redirected_only_where_it_stays_one() {
    let serial = &[7; 120];
    let answer = ocsp(serial, 0, HOUR);
    for (status, followed) in [(301, false), (302, false), (303, false), (307, true), (308, true)] {
        let target = Endpoint::that(Reply::Answer(answer.to_vec())).await;
        let endpoint = Endpoint::that(Reply::Redirect(status, target.url("/"))).await;
        let query = ocsp_query(&[endpoint.url("/")], serial);
        let answered = ask(&client(allowing(&[&endpoint, &target])), &query).await;
        assert_eq!(answered.is_ok(), followed, "{status}");
        assert!(target.asked().iter().all(|asked| asked.method == "POST"));
        assert_eq!(target.asked().len(), usize::from(followed));
    }
}

#[tokio::test]
async fn a_redirect_into_the_node_s_own_networks_is_refused() {
    let metadata = "http://169.254.169.254/latest/meta-data/".to_owned();
    let endpoint = Endpoint::that(Reply::Redirect(302, metadata)).await;
    check(
        crl_from(&endpoint).await,
        Code::RevocationUnknown,
        "169.254.169.254, which is not a public address",
    );
    let other = Endpoint::that(Reply::Answer(crl(0, HOUR).to_vec())).await;
    endpoint.now(Reply::Redirect(302, other.url("/")));
    check(
        crl_from(&endpoint).await,
        Code::RevocationUnknown,
        "not a public address",
    );
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn a_private_address_is_asked_only_where_the_configuration_says_so() {
    let list = crl(0, HOUR);
    let endpoint = Endpoint::that(Reply::Answer(list.to_vec())).await;
    let port = endpoint.address.port();
    let hosts = |text: &[&str]| RevocationConfig {
        hosts: text.iter().map(|host| host.parse().unwrap()).collect(),
        ..RevocationConfig::default()
    };
    let by_address = crl_query(&endpoint.url("/"));
    let by_name = crl_query(&format!("http://localhost:{port}/"));
    for config in [
        RevocationConfig::default(),
        hosts(&["127.0.0.1", "localhost", "127.0.0.1:1", "localhost:1"]),
    ] {
        let client = client(config);
        for query in [&by_address, &by_name] {
            check(
                ask(&client, query).await,
                Code::RevocationUnknown,
                "not a public address",
            );
        }
    }
    assert!(endpoint.asked().is_empty());
    for config in [
        RevocationConfig {
            private_addresses: true,
            ..RevocationConfig::default()
        },
        hosts(&[&format!("127.0.0.1:{port}"), &format!("LocalHost.:{port}")]),
    ] {
        let client = client(config);
        for query in [&by_address, &by_name] {
            assert_eq!(ask(&client, query).await.unwrap(), list);
        }
    }
}

#[tokio::test]
async fn an_address_with_a_user_name_is_not_asked() {
    let endpoint = Endpoint::that(Reply::Answer(crl(0, HOUR).to_vec())).await;
    let query = crl_query(&format!("http://user:secret@{}/", endpoint.address));
    let answer = ask(&client(allowing(&[&endpoint])), &query).await;
    check(answer, Code::RevocationUnknown, "user name");
    assert!(endpoint.asked().is_empty());
}

#[tokio::test]
async fn a_silent_endpoint_is_waited_for_once() {
    let endpoint = Endpoint::that(Reply::Silence).await;
    let client = client(allowing(&[&endpoint]));
    let brief = Instant::now() + Duration::from_millis(200);
    let answer = client.ask(&crl_query(&endpoint.url("/a")), Source::Any, brief).await;
    check(answer, Code::RevocationUnknown, "did not answer in time");
    // Another query to the same endpoint a moment later is not even sent.
    check(
        ask(&client, &crl_query(&endpoint.url("/b"))).await,
        Code::RevocationUnknown,
        "did not answer in time",
    );
    assert_eq!(endpoint.asked().len(), 1);
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_unknown() {
    let endpoint = Endpoint::that(Reply::Silence).await;
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let config = RevocationConfig {
        private_addresses: true,
        ..allowing(&[&endpoint])
    };
    let answer = ask(&client(config), &crl_query(&format!("http://{gone}/"))).await;
    check(answer, Code::RevocationUnknown, "cannot be reached");
}

#[tokio::test]
async fn a_silent_endpoint_starves_no_other() {
    let silent = Endpoint::that(Reply::Silence).await;
    let list = crl(0, HOUR);
    let good = Endpoint::that(Reply::Answer(list.to_vec())).await;
    let client = client(allowing(&[&silent, &good]));
    let waiting: Vec<_> = (0..10 * MAX_REQUESTS_PER_REVOCATION_HOST)
        .map(|number| {
            let (client, query) = (client.clone(), crl_query(&silent.url(&format!("/{number}"))));
            tokio::spawn(async move { ask(&client, &query).await })
        })
        .collect();
    while silent.asked().len() < MAX_REQUESTS_PER_REVOCATION_HOST {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(ask(&client, &crl_query(&good.url("/"))).await.unwrap(), list);
    assert_eq!(silent.asked().len(), MAX_REQUESTS_PER_REVOCATION_HOST);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn an_answer_is_paid_for_as_long_as_anyone_holds_it() {
    let list = crl(0, HOUR);
    let endpoint = Endpoint::that(Reply::Answer(list.to_vec())).await;
    let memory = AnswerMemory::default();
    let client = Client::new(allowing(&[&endpoint]), memory.clone());
    let answer = ask(&client, &crl_query(&endpoint.url("/"))).await.unwrap();
    memory.sweep();
    assert_eq!(memory.available(), MAX_REVOCATION_MEMORY - list.len());
    drop(answer);
    memory.sweep();
    assert_eq!(memory.available(), MAX_REVOCATION_MEMORY);
}

#[tokio::test]
async fn answers_that_others_hold_leave_no_memory_for_more() {
    let endpoint = Endpoint::that(Reply::Answer(crl(0, HOUR).to_vec())).await;
    let memory = AnswerMemory::default();
    let client = Client::new(allowing(&[&endpoint]), memory.clone());
    let held = memory.pay(MAX_REVOCATION_MEMORY, soon()).await.unwrap();
    let brief = Instant::now() + Duration::from_millis(500);
    let query = crl_query(&endpoint.url("/"));
    let refused = client.ask(&query, Source::Any, brief).await;
    assert!(refused.is_err());
    drop(held);
    assert!(ask(&client, &query).await.is_ok());
}

#[test]
fn a_host_is_a_name_or_address_with_a_port_at_most() {
    for (text, good) in [
        ("pki.corp.example", true),
        ("PKI.corp.example.:8080", true),
        ("10.1.2.3", true),
        ("127.0.0.1:8888", true),
        ("[fd00::1]:8080", true),
        ("[fd00::1]", true),
        ("", false),
        ("http://pki.corp.example", false),
        ("pki.corp.example/crl", false),
        ("user@pki.corp.example", false),
        ("pki.corp.example:", false),
        ("pki.corp.example:http", false),
        ("pki.corp.example:99999", false),
        ("pki corp", false),
        ("*.corp.example", false),
    ] {
        assert_eq!(text.parse::<EndpointHost>().is_ok(), good, "{text}");
    }
}

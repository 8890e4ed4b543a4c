use super::*;

fn exception(lines: &str) -> String {
    format!("version = 1\n[[exception]]\n{lines}\n")
}

/// An exception with everything that it has to have.
const WHOLE: &str = r#"images = ["registry.corp.example/prod/**"]
owner = "jane@corp.example"
reason = "registry of signatures is down"
incident = "INC-4711"
starts = "2026-11-28T10:00:00Z"
expires = "2026-11-28T18:00:00Z""#;

#[track_caller]
fn parsed(text: &str) -> Exceptions {
    let ParsedExceptions {
        exceptions,
        diagnostics,
    } = Exceptions::parse("break-glass.toml", text);
    exceptions.unwrap_or_else(|| panic!("{diagnostics:?}"))
}

#[track_caller]
fn refused(text: &str) -> Vec<String> {
    let parsed = Exceptions::parse("b", text);
    assert!(parsed.exceptions.is_none(), "{text}");
    parsed.diagnostics.iter().map(ToString::to_string).collect()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn digest(content: &str) -> Digest {
    Digest::sha256(content.as_bytes())
}

fn active(exceptions: &Exceptions, image: &str, content: &str, now: &str) -> Option<String> {
    let found = exceptions.active_for(&image.parse().unwrap(), &digest(content), at(now));
    found.map(|exception| exception.incident().to_string())
}

#[test]
fn counts_from_its_start_to_just_before_its_expiry() {
    let exceptions = parsed(&exception(WHOLE));
    for (now, expected) in [
        ("2026-11-28T09:59:59.999999999Z", None),
        ("2026-11-28T10:00:00Z", Some("INC-4711")),
        ("2026-11-28T17:59:59.999999999Z", Some("INC-4711")),
        ("2026-11-28T18:00:00Z", None),
    ] {
        let found = active(&exceptions, "registry.corp.example/prod/app", "a", now);
        assert_eq!(found.as_deref(), expected, "{now}");
        assert_eq!(exceptions.any_active(at(now)), expected.is_some(), "{now}");
    }
    let another = active(
        &exceptions,
        "registry.corp.example/test/app",
        "a",
        "2026-11-28T12:00:00Z",
    );
    assert_eq!(another, None);
}

#[test]
fn says_when_something_changes_next() {
    let other = WHOLE.replace("T10:", "T17:").replace("T18:", "T20:");
    let exceptions = parsed(&(exception(WHOLE) + "[[exception]]\n" + &other));
    for (now, next) in [
        ("2026-11-28T09:00:00Z", Some("2026-11-28T10:00:00Z")),
        ("2026-11-28T10:00:00Z", Some("2026-11-28T17:00:00Z")),
        ("2026-11-28T17:30:00Z", Some("2026-11-28T18:00:00Z")),
        ("2026-11-28T18:00:00Z", Some("2026-11-28T20:00:00Z")),
        ("2026-11-28T20:00:00Z", None),
    ] {
        assert_eq!(exceptions.next_change(at(now)), next.map(at), "{now}");
    }
    assert_eq!(Exceptions::default().next_change(at("2026-11-28T09:00:00Z")), None);
}

#[test]
fn a_day_is_allowed_and_no_more() {
    let until = |expires: &str| exception(&WHOLE.replace("2026-11-28T18:00:00Z", expires));
    parsed(&until("2026-11-29T10:00:00Z"));
    for expires in ["2026-11-29T10:00:00.000000001Z", "2026-11-29T11:00:00Z"] {
        let found = refused(&until(expires));
        assert_eq!(
            found,
            [format!(
                "b:8:11: error: it expires at {expires}, more than 24 h after it starts\n  help: make another one tomorrow, if \
                 it is still needed then; what stays needed belongs in the policy"
            )]
        );
    }
    for expires in ["2026-11-28T10:00:00Z", "2026-11-27T10:00:00Z"] {
        let found = refused(&until(expires));
        assert!(found[0].contains("an exception expires after it starts"), "{found:?}");
    }
}

/// GHSA-gg4x-fgg2-h9w9: conditions of two exceptions must not add up to one that nobody made.
#[test]
fn two_exceptions_never_combine() {
    let of = |scope: &str, incident: &str| {
        let scope = WHOLE.replace(r#"images = ["registry.corp.example/prod/**"]"#, scope);
        exception(&scope.replace("INC-4711", incident)).replace("version = 1\n", "")
    };
    let (a, b) = (digest("a"), digest("b"));
    let text = format!(
        "version = 1\n{}{}",
        of(
            &format!("images = [\"registry.example/one/*\"]\ndigests = [\"{a}\"]"),
            "ONE"
        ),
        of(
            &format!("images = [\"registry.example/two/*\"]\ndigests = [\"{b}\"]"),
            "TWO"
        ),
    );
    let exceptions = parsed(&text);
    for (image, content, expected) in [
        ("registry.example/one/app", "a", Some("ONE")),
        ("registry.example/two/app", "b", Some("TWO")),
        ("registry.example/one/app", "b", None),
        ("registry.example/two/app", "a", None),
        ("registry.example/three/app", "a", None),
    ] {
        let found = active(&exceptions, image, content, "2026-11-28T12:00:00Z");
        assert_eq!(found.as_deref(), expected, "{image} {content}");
    }
}

#[test]
fn a_scope_may_be_digests_alone() {
    let scope = format!("images = []\ndigests = [\"{}\"]", digest("a"));
    let text = exception(&WHOLE.replace(r#"images = ["registry.corp.example/prod/**"]"#, &scope));
    let exceptions = parsed(&text);
    let now = "2026-11-28T12:00:00Z";
    assert!(active(&exceptions, "alpine", "a", now).is_some());
    assert!(active(&exceptions, "alpine", "b", now).is_none());
    let both = WHOLE.replace(
        r#"images = ["registry.corp.example/prod/**"]"#,
        &format!("images = [\"**\"]\ndigests = [\"{}\"]", digest("a")),
    );
    assert!(active(&parsed(&exception(&both)), "alpine", "a", now).is_some());
}

#[test]
fn everything_is_no_scope() {
    let with = |scope: &str| exception(&WHOLE.replace(r#"images = ["registry.corp.example/prod/**"]"#, scope));
    let expected = [
        "b:3:10: error: an exception for \"**\" is one for every image there is\n  help: name what has to run, for example \
         \"registry.example/prod/**\"; or add digests",
    ];
    for scope in [
        "images = [\"**\"]",
        "images = [\"**\"]\ndigests = []",
        "images = [\"alpine\", \"**\"]",
    ] {
        assert_eq!(refused(&with(scope)), expected, "{scope}");
    }
    for scope in ["", "images = []", "images = []\ndigests = []"] {
        let found = refused(&with(scope));
        assert!(found[0].contains("an exception has no scope"), "{found:?}");
    }
}

#[test]
fn everything_is_mandatory_and_not_empty() {
    for key in ["owner", "reason", "incident", "starts", "expires"] {
        let line = WHOLE.lines().find(|line| line.starts_with(key)).unwrap();
        let found = refused(&exception(&WHOLE.replace(line, "")));
        assert_eq!(
            found,
            [format!(
                "b:2:1: error: an exception is missing its {key}\n  help: every exception has an owner, a reason, an incident, \
                 starts and expires"
            )]
        );
        let found = refused(&exception(&WHOLE.replace(line, &format!("{key} = \" \""))));
        assert_eq!(found.len(), 1, "{found:?}");
        let found = refused(&exception(&WHOLE.replace(line, &format!("{key} = 1"))));
        assert!(found[0].contains(&format!("{key} must be text")), "{found:?}");
    }
    let date = WHOLE.replace("\"2026-11-28T10:00:00Z\"", "2026-11-28T10:00:00Z");
    assert_eq!(
        refused(&exception(&date)),
        ["b:7:10: error: starts must be text, not a date\n  help: expected a time such as \"2026-01-31T00:00:00Z\""]
    );
}

#[test]
fn a_document_is_refused_as_a_whole_and_every_problem_has_its_place() {
    let text = "version = 2\nexceptions = []\n[[exception]]\nimages = [\"a:b\"]\nowner = \"a\\u001b\"\nuntil = 1\n";
    assert_eq!(
        refused(text),
        [
            "b:1:11: error: version 2 is not supported: expected 1",
            "b:2:1: error: unknown key \"exceptions\"\n  help: expected one of: version, exception",
            "b:3:1: error: an exception is missing its reason\n  help: every exception has an owner, a reason, an incident, \
             starts and expires",
            "b:3:1: error: an exception is missing its incident\n  help: every exception has an owner, a reason, an incident, \
             starts and expires",
            "b:3:1: error: an exception is missing its starts\n  help: every exception has an owner, a reason, an incident, \
             starts and expires",
            "b:3:1: error: an exception is missing its expires\n  help: every exception has an owner, a reason, an incident, \
             starts and expires",
            "b:4:11: error: image pattern \"a:b\" names a tag or digest: a pattern names repositories, digests belong in \
             \"digests\"",
            "b:5:9: error: owner contains control characters\n  help: denials show it: write a few words",
            "b:6:1: error: unknown key \"until\"\n  help: expected one of: images, digests, owner, reason, incident, starts, \
             expires",
        ]
    );
    assert_eq!(
        refused("exception = []")[0].lines().next(),
        Some("b:1:1: error: version is missing")
    );
    assert!(refused("version = 1\n[exception]\n")[0].contains("write [[exception]]"));
    assert!(refused(&" ".repeat(MAX_POLICY_SIZE + 1))[0].contains("more than 1048576"));
}

#[test]
fn no_exception_is_a_document_too() {
    assert_eq!(parsed("version = 1\n"), Exceptions::default());
    assert_eq!(parsed("version = 1\nexception = []\n"), Exceptions::default());
}

#[test]
fn as_many_as_the_limit_are_read_and_no_more() {
    let one = format!("[[exception]]\n{WHOLE}\n");
    let text = |count| format!("version = 1\n{}", one.repeat(count));
    assert_eq!(parsed(&text(MAX_EXCEPTIONS)).all().len(), MAX_EXCEPTIONS);
    assert!(refused(&text(MAX_EXCEPTIONS + 1))[0].contains("101 exceptions are more than 100"));
}

#[test]
fn shows_who_is_responsible_and_why() {
    let exceptions = parsed(&exception(&WHOLE.replace("down", "\u{202e}down")));
    assert_eq!(
        exceptions.all()[0].to_string(),
        "registry of signatures is \\u{202e}down (INC-4711), by jane@corp.example until 2026-11-28T18:00:00Z"
    );
}

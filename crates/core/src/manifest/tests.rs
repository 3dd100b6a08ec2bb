use super::*;
use crate::config::Export;
use crate::network::Network;
use crate::schedule;
use proptest::prelude::*;
use std::num::NonZeroU32;
use std::time::Duration;

/// Reads a manifest that must be wrong, and compares its problems, one `line:column what` each;
/// `what` need only be contained.
fn check(text: &str, wanted: &[&str]) {
    let error = Manifest::parse(text).expect_err(text);
    let shown = error.to_string();
    assert_eq!(error.problems().len(), wanted.len(), "{text}\n{shown}");
    let lines: Vec<_> = error.problems().iter().map(ToString::to_string).collect();
    assert_eq!(shown, lines.join("\n"));
    for (line, want) in shown.lines().zip(wanted) {
        let (at, what) = want.split_once(' ').unwrap();
        assert!(
            line.starts_with(&format!("{FILE}:{at}: ")),
            "{line}\nwanted {want}"
        );
        assert!(line.contains(what), "{line}\nwanted {want}");
    }
}

/// What a manifest says of the one function of a repository.
fn only(text: &str) -> Declaration {
    let manifest = Manifest::parse(text).unwrap();
    assert!(manifest.functions.len() < 2);
    manifest.functions.first().cloned().unwrap_or_default()
}

#[test]
fn everything() {
    let manifest = only(
        r#"
        [function]
        name = "hello"
        stack = "rust"
        routes = ["api.example.com/v1", "/short/"]
        health = "/healthz?deep=1"
        env = { GREETING = "hi", _x1 = "" }
        secrets = ["KEY", "_x2"]
        limits = { memory = "128M", cpus = 0.5, pids = 0x20, requests = 9, timeout = "5s", body = "1K" }
        scale = { idle = "500s", freeze = "10s" }
        network = "none"
        path = "services/hello"
        sticky = "cookie:session"
        "#,
    );
    assert_eq!(
        manifest.path().map(|(path, at)| (path, at.line, at.column)),
        Some(("services/hello", 12, 16))
    );
    assert_eq!(
        manifest.stack().map(|(stack, at)| (stack, at.line)),
        Some(("rust", 4))
    );
    let secrets: Vec<_> = manifest.secrets().collect();
    assert_eq!(
        secrets
            .iter()
            .map(|(name, at)| (*name, at.line, at.column))
            .collect::<Vec<_>>(),
        [("KEY", 8, 20), ("_x2", 8, 27)]
    );
    let export = Export {
        name: "SayHello".into(),
        ..Export::default()
    };
    let config = manifest.config(Found {
        user: Some("7:7".into()),
        exports: Some(vec![export.clone()]),
    });
    assert_eq!(config.exports, Some(vec![export]));
    assert_eq!(config.health.as_deref(), Some("/healthz?deep=1"));
    assert_eq!(config.sticky, "cookie:session".parse().ok());
    assert_eq!(config.env["GREETING"], "hi");
    assert_eq!(config.limits.memory, 128 << 20);
    assert_eq!(config.limits.nano_cpus, 500_000_000);
    assert_eq!(config.limits.pids, 32);
    assert_eq!(config.limits.requests, Some(9));
    assert_eq!(config.limits.timeout(), Some(Duration::from_secs(5)));
    assert_eq!(config.limits.body, Some(1024));
    assert_eq!(config.idle_ms, Some(500_000));
    assert_eq!(config.freeze_ms, Some(10_000));
    assert_eq!(config.network, Network::None);
    assert_eq!(
        config
            .routes
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["api.example.com/v1", "/short"]
    );
    assert_eq!(config.user.as_deref(), Some("7:7"));
}

#[test]
fn nothing_is_needed() {
    for text in [
        "",
        "# nothing",
        "[function]",
        "function = {}",
        "[[function]]\n",
    ] {
        let manifest = only(text);
        assert_eq!(manifest.config(Found::default()), FunctionConfig::default());
        assert_eq!(manifest.stack(), None);
    }
    let one = only("[[function]]\nlimits.cpus = 2\n");
    assert_eq!(one.config(Found::default()).limits.nano_cpus, 2_000_000_000);
}

/// The functions of a repository, or what is wrong.
fn functions(text: &str, account: &str, name: Option<&str>) -> Result<Vec<String>, String> {
    let functions = Manifest::parse(text).unwrap().functions(account, name);
    let functions = functions.map_err(|error| error.to_string())?;
    Ok(functions.iter().map(|(name, _)| name.to_string()).collect())
}

#[test]
fn names() {
    let hello = "[function]\nname = \"hello\"";
    for (text, name) in [("", Some("hello")), (hello, Some("hello")), (hello, None)] {
        assert_eq!(
            functions(text, "demo", name),
            Ok(vec!["demo/hello".to_owned()])
        );
    }
    for (text, name, says) in [
        ("", None, "corefn.toml: the repository demo"),
        (
            "[function]\nenv = {}",
            None,
            "corefn.toml:1:1: the repository demo",
        ),
        (hello, Some("other"), "corefn.toml:2:8: name is \"hello\""),
        ("", Some("No"), "\"No\" is no name"),
    ] {
        let error = functions(text, "demo", name).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn unknown_keys() {
    check("[functions]", &["1:2 did you mean \"function\"?"]);
    check("[colour]", &["1:2 write one of function"]);
    check("[function]\nroute = []", &["2:1 did you mean \"routes\"?"]);
    check(
        "[function]\nwebhooks = []",
        &["2:1 [function] has no key \"webhooks\": write one of env, health"],
    );
    check(
        "[function]\nlimits = { Memroy = \"1G\" }",
        &["2:12 did you mean \"memory\"?"],
    );
    check(
        "[function.scale]\nidel = \"1m\"",
        &["2:1 [scale] has no key \"idel\": did you mean \"idle\"?"],
    );
    check(
        "[function.scale]\nzero = true",
        &["2:1 [scale] has no key \"zero\": write one of concurrency, freeze, idle, max, min"],
    );
}

#[test]
fn wrong_types() {
    check(
        "function = 5",
        &["1:12 function is an integer, not a table: write [function]"],
    );
    check(
        "[function]\nname = 5",
        &["2:8 name is an integer, not a string: write name = \"hello\""],
    );
    check(
        "[function]\nroutes = \"/a\"",
        &["2:10 routes is a string, not an array of strings"],
    );
    check(
        "[function]\nroutes = [true]",
        &["2:11 routes is a boolean, not a string"],
    );
    check(
        "[function]\nenv = []",
        &["2:7 env is an array, not a table"],
    );
    check(
        "[function]\nsecrets = \"A\"",
        &["2:11 secrets is a string, not an array of strings"],
    );
    check(
        "[function]\nsecrets = [1, \"1A\", \"PORT\", \"A\", \"B\", \"B\"]\nenv = { A = \"\" }",
        &[
            "2:12 secrets is an integer, not a string",
            "2:15 secrets: \"1A\" is no variable's name",
            "2:21 secrets: PORT is set by the platform",
            "2:29 secrets: A is in env as well",
            "2:39 secrets has \"B\" twice",
        ],
    );
    check(
        "[function]\nenv = { A = 1 }",
        &["2:13 A is an integer, not a string: write A = \"…\", in quotes"],
    );
    check(
        "[function]\nlimits.memory = 1024",
        &["2:17 memory is an integer, not a string: write memory = \"128M\""],
    );
    check(
        "[function]\nlimits.cpus = \"1\"",
        &["2:15 cpus is a string, not a number"],
    );
    check(
        "[function]\nlimits.pids = 1.5",
        &["2:15 pids is a float, not an integer"],
    );
    check(
        "[function]\nlimits.requests = \"9\"",
        &["2:19 requests is a string, not an integer: write requests = 100"],
    );
    check(
        "[function]\nscale = \"60s\"",
        &["2:9 scale is a string, not a table: write scale = { idle = \"60s\" }"],
    );
    check(
        "[function]\nscale.idle = 1979-05-27",
        &["2:14 idle is a date, not a string"],
    );
}

#[test]
fn wrong_values() {
    check("[function]\nname = \"A b\"", &["2:8 \"A b\" is no name"]);
    check("[function]\nstack = \"\"", &["2:9 \"\" is no stack"]);
    for path in ["", "/a", "a/", "a//b", "../a", "./a", "a/..", "."] {
        check(
            &format!("[function]\npath = \"{path}\""),
            &["2:8 is no folder of the repository"],
        );
    }
    check(
        "[function]\nhealth = \"up\"",
        &["2:10 it starts with a slash"],
    );
    check("[function]\nhealth = \"/a b\"", &["2:10 as %XX"]);
    check("[function]\nhealth = \"/é\"", &["2:10 as %XX"]);
    check(
        "[function]\nnetwork = \"Out\"",
        &["2:11 \"Out\" names no network"],
    );
    check(
        "[function]\nnetwork = \"build\"",
        &["2:11 write outbound, none, or the name of one that the host's settings have"],
    );
    check("[function]\nroutes = [\"/a\", \"/a/\"]", &["2:17 twice"]);
    check("[function]\nroutes = [\"H/..\"]", &["2:11 is no route"]);
    check(
        "[function]\nenv = { PORT = \"1\" }",
        &["2:9 PORT is set by the platform"],
    );
    let reserved = names::env::HOME;
    check(
        &format!("[function]\nenv = {{ {reserved} = \"1\" }}"),
        &[&format!("2:9 {reserved} is set by the platform")],
    );
    check(
        "[function]\nenv = { 1A = \"1\" }",
        &["2:9 \"1A\" is no variable's name"],
    );
    check(
        "[function]\nenv = { \"\" = \"1\" }",
        &["2:9 \"\" is no variable's name"],
    );
    check("[function]\nenv = { A = \"\\u0000\" }", &["2:13 NUL"]);
}

#[test]
fn ranges() {
    for (key, good, bad) in [
        (
            "limits.memory",
            ["\"6M\"", "\"9223372036854775807\""],
            ["\"6143K\"", "\"8589934592G\"", "\"1T\""],
        ),
        ("limits.cpus", ["0.01", "8192"], ["0.009", "nan", "-1"]),
        (
            "limits.pids",
            ["1", "4_194_304"],
            ["0", "4194305", "99999999999999999999"],
        ),
        (
            "limits.requests",
            ["1", "4294967295"],
            ["0", "4294967296", "-1"],
        ),
        (
            "limits.timeout",
            ["\"1ms\"", "\"1h\""],
            ["\"0s\"", "\"61m\"", "\"soon\""],
        ),
        (
            "limits.body",
            ["\"0\"", "\"10M\""],
            ["\"-1\"", "\"much\"", "\"1T\""],
        ),
        (
            "scale.idle",
            ["\"2s\"", "\"8760h\""],
            ["\"1999ms\"", "\"8761h\"", "\"soon\""],
        ),
        (
            "scale.concurrency",
            ["1", "4294967295"],
            ["0", "4294967296", "\"1\""],
        ),
    ] {
        for value in good {
            let text = format!("[function]\n{key} = {value}");
            assert!(Manifest::parse(&text).is_ok(), "{text} was refused");
        }
        for value in bad {
            let column = key.len() + 4;
            check(
                &format!("[function]\n{key} = {value}"),
                &[&format!("2:{column} {}", &key[key.len() - 4..])],
            );
        }
    }
}

#[test]
fn several_instances_are_of_those_that_get_full() {
    let config = only("[function]\nscale = { max = 4, concurrency = 10 }").config(Found::default());
    assert_eq!(config.concurrency.map(NonZeroU32::get), Some(10));
    assert_eq!(config.most_instances(), 4);
    assert_eq!(FunctionConfig::default().most_instances(), 1);
    let of = |scale: &str| only(&format!("[function]\nscale = {scale}")).config(Found::default());
    for (scale, least) in [
        ("{ min = 0 }", 0),
        ("{ min = 1 }", 1),
        ("{ min = 3, max = 3, concurrency = 1 }", 3),
        ("{ max = 1 }", 0),
    ] {
        assert_eq!(of(scale).least_instances(), least, "{scale}");
    }
    for (scale, says) in [
        ("{ max = 4 }", "2:17 max: another instance is started when"),
        (
            "{ max = 4, concurrency = 0 }",
            "2:34 concurrency: write a number of requests from 1",
        ),
        (
            "{ max = 0 }",
            "2:17 max: write a number of instances from 1 to 1000",
        ),
        (
            "{ min = -1 }",
            "2:17 min: write a number of instances from 0 to 1000",
        ),
        (
            "{ min = 2 }",
            "2:17 min: 2 are more than there may be, 1: say with max",
        ),
        (
            "{ min = 5, max = 4, concurrency = 1 }",
            "2:17 min: 5 are more than there may be, 4: say with max",
        ),
    ] {
        check(&format!("[function]\nscale = {scale}"), &[says]);
    }
}

#[test]
fn freezing_is_before_the_end() {
    let config = only("[function]\nscale.freeze = \"59s\"").config(Found::default());
    let idle = Some(DEFAULT_IDLE.as_millis() as u64);
    assert_eq!((config.freeze_ms, config.idle_ms), (Some(59_000), idle));
    for (scale, says) in [
        ("{ freeze = \"60s\" }", "2:20 freeze: \"60s\" is too long"),
        (
            "{ freeze = \"5s\", idle = \"5s\" }",
            "2:20 after 5s: write less",
        ),
        ("{ freeze = \"1s\" }", "2:20 freeze: \"1s\" is too short"),
        ("{ freeze = \"soon\" }", "2:20 freeze"),
        (
            "{ freeze = 5 }",
            "2:20 freeze is an integer, not a string: write freeze = \"10s\"",
        ),
    ] {
        check(&format!("[function]\nscale = {scale}"), &[says]);
    }
}

#[test]
fn all_at_once_in_the_order_of_the_text() {
    check(
        "[function]\nscale.idle = \"x\"\nname = 1\n# é\nenv = { 'é' = 1, B = 2 }\ncolour = 1\n",
        &[
            "2:14 no duration",
            "3:8 name",
            "5:9 no variable",
            "5:15 integer",
            "5:22 integer",
            "6:1 \"colour\"",
        ],
    );
}

#[test]
fn so_many_functions_and_no_more() {
    let text = |count: usize| -> String {
        let each = (0..count).map(|n| format!("[[function]]\nname = \"f{n}\"\n"));
        each.collect()
    };
    let most = functions(&text(MOST_FUNCTIONS), "demo", None).unwrap();
    assert_eq!((most.len(), most[99].as_str()), (100, "demo/f99"));
    let error = functions(&text(MOST_FUNCTIONS + 1), "demo", None).unwrap_err();
    let says = "corefn.toml:201:1: there are more than 100 functions";
    assert!(error.starts_with(says), "{error}");
}

#[test]
fn several_functions() {
    let two = "[[function]]\nname = \"a\"\n[[function]]\nname = \"b\"\n";
    let names = ["demo/a", "demo/b"].map(ToOwned::to_owned).to_vec();
    assert_eq!(functions(two, "demo", None), Ok(names));
    for (text, name, says) in [
        (
            two,
            Some("a"),
            "corefn.toml:3:1: there are 2 functions, but the repository demo/a deploys one",
        ),
        (
            "[[function]]\nname = \"a\"\n[[function]]\nname = \"a\"\n",
            None,
            "corefn.toml:4:8: demo/a: there is another function of this name",
        ),
        (
            "[[function]]\nname = \"a\"\n[[function]]\n",
            None,
            "corefn.toml:3:1: the repository demo deploys demo/<name>",
        ),
        (
            "[[function]]\nname = \"a\"\nroutes = [\"/x\"]\n[[function]]\nname = \"b\"\nroutes = [\"/x\"]\n",
            None,
            "corefn.toml:5:8: demo/a has the route /x as well",
        ),
        (
            "[[function]]\nname = \"a\"\nroutes = [\"/demo/b\"]\n[[function]]\nname = \"b\"\n",
            None,
            "corefn.toml:5:8: demo/a has the route /demo/b as well",
        ),
    ] {
        let error = functions(text, "demo", name).unwrap_err();
        assert!(error.starts_with(says), "{error}");
    }
    // Its own name is a route that it has anyway.
    let own = "[function]\nroutes = [\"/demo/a\"]\n";
    assert_eq!(functions(own, "demo", Some("a")).unwrap(), ["demo/a"]);
    check(
        "[[function]]\n[[function]]\nnme = 1\n",
        &["3:1 did you mean \"name\"?"],
    );
    check(
        "function = [{}, 5]",
        &["1:17 function is an integer, not a table"],
    );
}

#[test]
fn no_toml() {
    let error = Manifest::parse("[function]\nname = \nroutes = [\n").unwrap_err();
    assert!(error.to_string().starts_with("corefn.toml:2:"), "{error}");
    let twice = Manifest::parse("[function]\nname = 'a'\nname = 'b'").unwrap_err();
    assert!(
        twice.to_string().starts_with("corefn.toml:3:1: "),
        "{twice}"
    );
}

/// Texts that are nearly manifests: they get further into the reader than random ones.
fn nearly() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("[function]\n".to_owned()),
        Just("[[function]]\n".to_owned()),
        Just("limits".to_owned()),
        Just("env".to_owned()),
        Just("secrets".to_owned()),
        Just("scale.idle".to_owned()),
        Just("scale.freeze".to_owned()),
        Just("scale.concurrency".to_owned()),
        Just("scale.max".to_owned()),
        Just("scale.min".to_owned()),
        Just("routes".to_owned()),
        Just("health".to_owned()),
        Just(" = ".to_owned()),
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just("\n".to_owned()),
        Just("\"".to_owned()),
        Just("1e999".to_owned()),
        Just("é\u{0}".to_owned()),
        Just("0x7fffffffffffffffff".to_owned()),
        "[a-z0-9.,\"']{0,5}",
    ];
    proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = Manifest::parse(&text);
    }

    #[test]
    fn nearly_manifests_are_read_or_refused(text in nearly()) {
        if let Err(error) = Manifest::parse(&text) {
            prop_assert!(!error.problems().is_empty());
        }
    }
}

#[test]
fn long_texts_do_not_take_long() {
    // As much as the builder reads of a file. If its time grew with the square of the length, each
    // would take minutes.
    let mut texts: Vec<String> = [
        "[\"\n",
        "= =",
        "a.b.c = 1\n",
        "[[a]]\n",
        "[function]\n",
        "[[function]]\n",
    ]
    .iter()
    .map(|piece| piece.repeat((1 << 20) / piece.len()))
    .collect();
    texts.push((0..50_000).map(|n| format!("k{n} = 1\n")).collect());
    let routes: String = (0..50_000).map(|n| format!("'/{n}', ")).collect();
    texts.push(format!("[function]\nroutes = [{routes}]"));
    for text in texts {
        let begin = std::time::Instant::now();
        let _ = Manifest::parse(&text);
        let took = begin.elapsed();
        assert!(took.as_secs() < 30, "{:?}… took {took:?}", &text[..20]);
    }
}

#[test]
fn schedules() {
    let config = |text: &str| only(text).config(Found::default());
    let several = config("[function]\nschedule = [\"@daily\", \"* * * * * UTC /x\"]");
    let lines: Vec<_> = several.schedule.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["@daily", "* * * * * UTC /x"]);
    assert_eq!(
        config("[function]\nschedule = \"@daily\"").schedule,
        several.schedule[..1]
    );
    assert!(config("[function]\nschedule = []").schedule.is_empty());
    let declared = only("[function]\nschedule = [\"@daily\", \"* * * * * UTC /x\"]");
    let places = declared
        .schedule()
        .map(|(line, at)| (line.path(), at.line, at.column));
    assert_eq!(places.collect::<Vec<_>>(), [("/", 2, 13), ("/x", 2, 23)]);
    let many = (0..=schedule::MOST).map(|minute| format!("\"{minute} * * * *\""));
    let many = format!(
        "[function]\nschedule = [{}]",
        many.collect::<Vec<_>>().join(", ")
    );
    for (text, says) in [
        (
            "[function]\nschedule = 5",
            "2:12: schedule is an integer, not a string or an array of strings",
        ),
        (
            "[function]\nschedule = [5]",
            "2:13: schedule is an integer, not a string",
        ),
        (
            "[function]\nschedule = [\"* *\"]",
            "2:13: schedule: \"* *\" has fewer than five fields",
        ),
        (
            "[function]\nschedule = [\"@daily\", \" @daily\"]",
            "2:23: schedule has \" @daily\" twice: keep one",
        ),
        (&many, "schedule has more than 20 lines"),
    ] {
        let error = Manifest::parse(text).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

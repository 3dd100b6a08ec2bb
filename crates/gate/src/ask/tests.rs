//! What is understood, and what is not.
#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

fn read(method: &str, target: &str, body: &str) -> Result<Ask, String> {
    let read = Ask::read(method, target, body.as_bytes());
    read.map(|(_, ask)| ask).map_err(|error| error.to_string())
}

fn id() -> DockerId {
    DockerId("0123456789abcdef".repeat(4))
}

#[test]
fn what_is_understood() {
    let id = id();
    let own = vec!["a.label=x".to_owned()];
    let by_label = "filters=%7B%22label%22%3A%5B%22a.label%3Dx%22%5D%7D";
    let events = "filters=%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B%22die%22%5D%2C%22label%22%3A%5B%22a.label%3Dx%22%5D%7D";
    let limits = r#"{"Memory": 4, "MemorySwap": 5, "NanoCpus": 6, "PidsLimit": 7}"#;
    let read_limits = ContainerLimits {
        memory: 4,
        memory_swap: 5,
        nano_cpus: 6,
        pids_limit: 7,
    };
    let v = "/v1.41";
    let begin = "0123456789ab";
    let build = format!(
        "dockerfile=D&t=a:b&nocache=true&rm=true&forcerm=true&memory=4&cpushares=10&buildargs=%7B%22A%22%3A%22b%22%7D&labels=%7B%7D&networkmode={id}&platform=&target=&version=1&q=false"
    );
    let built = Build {
        name: Some("a:b".to_owned()),
        dockerfile: "D".to_owned(),
        stage: String::new(),
        nocache: true,
        arguments: [("A".to_owned(), "b".to_owned())].into(),
        labels: [].into(),
        network: id.clone(),
        limits: [
            ("memory", Some(4)),
            ("memswap", None),
            ("cpuperiod", None),
            ("cpuquota", None),
        ],
    };
    for (method, target, body, ask) in [
        (
            "POST",
            format!("{v}/build?{build}"),
            "",
            Ask::Build(Box::new(built)),
        ),
        ("GET", format!("{v}/version"), "", Ask::Version),
        ("GET", format!("{v}/info"), "", Ask::Info),
        (
            "GET",
            format!("{v}/containers/{begin}/json?size=true"),
            "",
            Ask::Inspect(Shown::Begin(begin.to_owned()), true),
        ),
        (
            "POST",
            format!("{v}/containers/{begin}/kill?signal=SIGKILL"),
            "",
            Ask::Kill(Shown::Begin(begin.to_owned())),
        ),
        (
            "POST",
            format!("{v}/containers/{begin}/update"),
            r#"{"PidsLimit": 7}"#,
            Ask::LimitProcesses(Shown::Begin(begin.to_owned()), 7),
        ),
        (
            "POST",
            format!("{v}/containers/{id}/stop?t=10"),
            "",
            Ask::Stop(id.clone(), 10),
        ),
        (
            "POST",
            format!("{v}/containers/{id}/pause"),
            "",
            Ask::Pause(id.clone()),
        ),
        (
            "POST",
            format!(
                "{v}/containers/{id}/attach?stream=true&stdout=true&stderr=true&stdin=false&logs=false"
            ),
            "",
            Ask::Attach(id.clone()),
        ),
        (
            "PUT",
            format!("{v}/containers/{id}/archive?path=%2Fa"),
            "",
            Ask::Upload(id.clone(), "/a".to_owned()),
        ),
        (
            "GET",
            format!("{v}/containers/{id}/archive?path=%2Fa"),
            "",
            Ask::Download(id.clone(), "/a".to_owned()),
        ),
        (
            "GET",
            format!("{v}/images/json?all=false"),
            "",
            Ask::Images(Listed::All),
        ),
        (
            "GET",
            format!("{v}/images/json?filters=%7B%22reference%22%3A%5B%22a%22%5D%7D"),
            "",
            Ask::Images(Listed::Named("a".to_owned())),
        ),
        (
            "GET",
            format!("{v}/images/json?filters=%7B%22dangling%22%3A%5B%22true%22%5D%7D"),
            "",
            Ask::Images(Listed::Nameless),
        ),
        (
            "GET",
            format!("{v}/images/a/b:c/json"),
            "",
            Ask::InspectImage("a/b:c".to_owned()),
        ),
        (
            "GET",
            format!("{v}/images/sha256:01/history"),
            "",
            Ask::History("sha256:01".to_owned()),
        ),
        (
            "GET",
            format!("{v}/images/a-b/get"),
            "",
            Ask::SaveImage("a-b".to_owned()),
        ),
        (
            "POST",
            format!("{v}/images/create?fromImage=docker.io%2Flibrary%2Fa&tag=b&platform="),
            "",
            Ask::Pull("a:b".parse().unwrap()),
        ),
        (
            "POST",
            format!("{v}/images/a:b/tag?repo=c%2Fd&tag=e"),
            "",
            Ask::Tag("a:b".to_owned(), "c/d:e".to_owned()),
        ),
        (
            "DELETE",
            format!("{v}/images/a/b:c?force=false&noprune=false"),
            "",
            Ask::RemoveImage("a/b:c".to_owned()),
        ),
        ("POST", format!("{v}/images/load?quiet=true"), "", Ask::Load),
        (
            "POST",
            format!("{v}/volumes/create"),
            r#"{"Name": "a"}"#,
            Ask::CreateVolume(json!({"Name": "a"})),
        ),
        (
            "DELETE",
            format!("{v}/volumes/a-b?force=false"),
            "",
            Ask::RemoveVolume("a-b".to_owned()),
        ),
        ("GET", "/_ping".to_owned(), "", Ask::Ping),
        ("HEAD", "/_ping".to_owned(), "", Ask::Ping),
        (
            "GET",
            format!("{v}/containers/json?all=true&size=false&{by_label}"),
            "",
            Ask::Containers(own.clone()),
        ),
        (
            "GET",
            format!("{v}/images/json?all=false&digests=false&{by_label}"),
            "",
            Ask::Images(Listed::Labelled(own.clone())),
        ),
        (
            "GET",
            format!("{v}/events?{events}"),
            "",
            Ask::Events(vec!["die".to_owned()], own),
        ),
        ("GET", format!("{v}/networks"), "", Ask::Networks),
        (
            "GET",
            format!("{v}/containers/{id}/json?size=false"),
            "",
            Ask::Inspect(Shown::Whole(id.clone()), false),
        ),
        (
            "POST",
            format!("{v}/containers/create?name=a&platform="),
            "{}",
            Ask::Create("a".to_owned(), json!({})),
        ),
        (
            "POST",
            format!("{v}/containers/{id}/start"),
            "",
            Ask::Start(id.clone()),
        ),
        (
            "POST",
            format!("{v}/containers/{id}/unpause"),
            "",
            Ask::Unpause(id.clone()),
        ),
        (
            "POST",
            format!("{v}/containers/{id}/wait?condition="),
            "",
            Ask::Wait(id.clone()),
        ),
        (
            "POST",
            format!("{v}/containers/{id}/rename?name=a--b"),
            "",
            Ask::Rename(id.clone(), "a--b".to_owned()),
        ),
        (
            "POST",
            format!("{v}/containers/{id}/update"),
            limits,
            Ask::Limit(id.clone(), read_limits),
        ),
        (
            "POST",
            format!("{v}/containers/{id}/update"),
            r#"{"CpuShares": 10}"#,
            Ask::Prioritize(id.clone(), 10),
        ),
        (
            "DELETE",
            format!("{v}/containers/{id}?v=true&force=true&link=false"),
            "",
            Ask::Remove(id.clone()),
        ),
        (
            "DELETE",
            format!("{v}/networks/{id}"),
            "",
            Ask::RemoveNetwork(id.clone()),
        ),
        (
            "POST",
            format!("{v}/networks/create"),
            r#"{"Name": "a"}"#,
            Ask::CreateNetwork(json!({"Name": "a"})),
        ),
        (
            "GET",
            format!(
                "{v}/containers/{id}/logs?follow=false&stdout=true&stderr=true&since=0&until=0&timestamps=false&tail=10000"
            ),
            "",
            Ask::Logs(
                id.clone(),
                Log {
                    lines: Some(10_000),
                    since: 0,
                    until: 0,
                    follow: false,
                    timestamps: false,
                },
            ),
        ),
        (
            "GET",
            format!("{v}/containers/{id}/stats?stream=false&one-shot=true"),
            "",
            Ask::Stats(id.clone()),
        ),
    ] {
        assert_eq!(read(method, &target, body), Ok(ask), "{method} {target}");
    }
}

#[test]
fn what_is_not() {
    let id = id();
    let build = format!("dockerfile=D&rm=true&forcerm=true&cpushares=10&networkmode={id}");
    let v = "/v1.41";
    for (method, target, body, why) in [
        ("POST", "/_ping".to_owned(), "", "nobody needs"),
        (
            "GET",
            format!("{v}/images/json?filters=%7B%22since%22%3A%5B%22x%22%5D%7D"),
            "",
            "nobody needs",
        ),
        (
            "POST",
            format!("{v}/containers/{id}/update"),
            r#"{"PidsLimit": 7, "CpusetCpus": "0"}"#,
            "unknown field",
        ),
        (
            "POST",
            format!("{v}/containers/{id}/update"),
            r#"{"CpuShares": "10"}"#,
            "invalid type",
        ),
        (
            "POST",
            format!("{v}/containers/{id}/update"),
            r#"{"CpuShares": 10, "cpushares": 1024}"#,
            "twice",
        ),
        (
            "POST",
            format!("{v}/containers/{id}/kill?signal=HUP"),
            "",
            "signal=HUP",
        ),
        (
            "POST",
            format!(
                "{v}/containers/{id}/attach?stream=true&stdout=true&stderr=true&stdin=true&logs=false"
            ),
            "",
            "stdin=true",
        ),
        (
            "DELETE",
            format!("{v}/images/a/b:c?force=true"),
            "",
            "force=true",
        ),
        ("GET", format!("{v}/images/a/../json"), "", "two ways"),
        (
            "POST",
            format!("{v}/images//tag?repo=a&tag=b"),
            "",
            "two ways",
        ),
        (
            "POST",
            format!("{v}/build?{build}&version=2"),
            "",
            "version=2",
        ),
        (
            "POST",
            format!("{v}/build?{build}&version=1&remote=http%3A%2F%2Fx"),
            "",
            "a parameter \"remote\"",
        ),
        (
            "POST",
            format!("{v}/build?{build}&version=1&memory=-1"),
            "",
            "memory=-1",
        ),
        (
            "POST",
            format!("{v}/images/load?quiet=false"),
            "",
            "quiet=false",
        ),
        ("GET", "/_ping".to_owned(), "x", "a body where none belongs"),
        ("GET", "/_ping?x=y".to_owned(), "", "a parameter \"x\""),
        (
            "POST",
            format!("/v1.40/containers/{id}/start"),
            "",
            "v1.40 of the API, before v1.41",
        ),
        (
            "POST",
            format!("/v0.99/containers/{id}/start"),
            "",
            "before v1.41",
        ),
        (
            "POST",
            format!("/v+1.41/containers/{id}/start"),
            "",
            "two ways",
        ),
        (
            "POST",
            format!("{v}/containers/{id}/../start"),
            "",
            "two ways",
        ),
        (
            "POST",
            format!("{v}/containers/{id}/.%2e/start"),
            "",
            "two ways",
        ),
        ("POST", format!("{v}/containers//start"), "", "two ways"),
        ("POST", format!("{v}/containers/./start"), "", "two ways"),
        (
            "POST",
            format!("{v}/containers/name/start"),
            "",
            "\"name\" is no whole identifier",
        ),
        (
            "POST",
            format!("{v}/containers/{id}0/start"),
            "",
            "no whole identifier",
        ),
        (
            "POST",
            format!("{v}/containers/{id}/wait?condition=removed"),
            "",
            "condition=removed",
        ),
        (
            "DELETE",
            format!("{v}/containers/{id}?v=true&v=true"),
            "",
            "\"v\" twice",
        ),
        (
            "DELETE",
            format!("{v}/containers/{id}?v=true"),
            "",
            "force=",
        ),
        (
            "POST",
            format!("{v}/containers/{id}/update"),
            "{}",
            "missing field",
        ),
        ("GET", format!("{v}/containers/json?filters="), "", "EOF"),
        (
            "GET",
            format!("{v}/containers/json?filters=%7B%7D"),
            "",
            "no filter by labels",
        ),
        (
            "GET",
            format!("{v}/containers/json?filters=%5B%5D"),
            "",
            "filters: ",
        ),
        (
            "GET",
            format!("{v}/events?filters=%7B%7D"),
            "",
            "events of what is no container",
        ),
        ("GET", "containers/json".to_owned(), "", "two ways"),
        ("GET", String::new(), "", "two ways"),
    ] {
        let error = read(method, &target, body).unwrap_err();
        assert!(error.contains(why), "{method} {target}: {error}");
    }
}

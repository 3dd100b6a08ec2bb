//! What a pusher is told at the end.

use corefn_core::config::Export;
use corefn_core::deployment::Deployment;
use corefn_core::function::FunctionName;

use super::build::Built;
use crate::output::{Output, seconds, size};

/// Prints what was found and where it answers.
pub(super) async fn print(url: &str, built: &Built, output: &mut Output) {
    let deployment = &built.deployment;
    let head = format!(
        "==> deployed {}, revision {}",
        deployment.function, deployment.revision
    );
    output.line(&head).await;
    let steps: Vec<_> = built
        .steps
        .iter()
        .map(|(step, took)| format!("{step} {}", seconds(*took)))
        .collect();
    output.line(&format!("    stack    {}", built.stack)).await;
    output
        .line(&format!("    image    {}", size(built.size)))
        .await;
    output
        .line(&format!("    time     {}", steps.join(", ")))
        .await;
    let warm = format!("    instance {}, warm", built.first.instance.id);
    output.line(&warm).await;
    let mut base = url_of(url, &deployment.function);
    if let Some(weight) = built.weight {
        base = url_of(url, &deployment.function.at(&deployment.revision));
        let share =
            format!("    weight   {weight} % of the requests, and all that are sent to {base}");
        output.line(&share).await;
    }
    for (count, route) in deployment.config.routes.iter().enumerate() {
        let name = if count == 0 { "routes" } else { "" };
        output.line(&format!("    {name:8} {route}")).await;
    }
    for (count, call) in calls(&base, deployment).iter().enumerate() {
        let name = if count == 0 { "try" } else { "" };
        output.line(&format!("    {name:8} {call}")).await;
    }
}

/// Where a function answers, or one of its released revisions.
fn url_of(url: &str, function: &FunctionName) -> String {
    format!("{}/{function}", url.trim_end_matches('/'))
}

/// A command to call each export, or the function as a whole.
fn calls(base: &str, deployment: &Deployment) -> Vec<String> {
    let call = |export: &Export| {
        let data = match export.argument.as_deref() {
            Some("text") => "-d World ".to_owned(),
            Some("json") => format!("-H 'Content-Type: application/json' -d {} ", body(export)),
            // The request's type says what it is.
            None => "-d World ".to_owned(),
            _ => String::new(),
        };
        format!("curl {data}{base}/{}", export.name)
    };
    match &deployment.config.exports {
        Some(exports) => exports.iter().map(call).collect(),
        None => vec![format!("curl {base}/")],
    }
}

/// An example of a body in JSON, as a word of the shell; where there is none, a file to be written.
fn body(export: &Export) -> String {
    match &export.example {
        Some(example) => format!("'{}'", example.replace('\'', "'\\''")),
        None => "@argument.json".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corefn_core::config::FunctionConfig;
    use corefn_core::function::RevisionId;

    #[test]
    fn what_to_try() {
        let export = |name: &str, argument: Option<&str>| Export {
            name: name.into(),
            argument: argument.map(Into::into),
            ..Export::default()
        };
        let mut deployment = Deployment {
            function: "demo/hello".parse().unwrap(),
            revision: RevisionId("r".into()),
            image: "i".into(),
            config: FunctionConfig::default(),
            releases: Vec::new(),
        };
        assert_eq!(
            calls(&url_of("http://h:1/", &deployment.function), &deployment),
            ["curl http://h:1/demo/hello/"]
        );
        deployment.config.exports = Some(vec![
            export("Now", Some("none")),
            export("Say", Some("text")),
            export("Add", Some("json")),
            Export {
                example: Some(r#"{"A":"it's"}"#.into()),
                ..export("Tell", Some("json"))
            },
            export("Any", None),
        ]);
        assert_eq!(
            calls(&url_of("http://h:1", &deployment.function), &deployment),
            [
                "curl http://h:1/demo/hello/Now",
                "curl -d World http://h:1/demo/hello/Say",
                "curl -H 'Content-Type: application/json' -d @argument.json http://h:1/demo/hello/Add",
                r#"curl -H 'Content-Type: application/json' -d '{"A":"it'\''s"}' http://h:1/demo/hello/Tell"#,
                "curl -d World http://h:1/demo/hello/Any",
            ]
        );
    }
}

//! The probe as a runtime: functions that are files on its image, and start where it waits for them.

use std::collections::HashMap;
use std::io::{Seek as _, Write as _};

use bollard::query_parameters::BuildImageOptionsBuilder;
use corefn_build::image::{Traces, from_files, identifier};
use corefn_core::config::{Archive, FunctionConfig};
use corefn_core::deployment::Deployment;
use corefn_core::names::label;
use corefn_sandbox::archive;
use corefn_sandbox::executables::Digest;
use futures_util::TryStreamExt as _;
use tar::{Builder, Header};

use crate::home::Home;
use crate::probe;

/// What makes its image. (It can't be at `/function`, where a function's files are.)
const DOCKERFILE: &str = "FROM scratch\nCOPY probe /probe\nENTRYPOINT [\"/probe\"]\n";

/// Deploys a function that is a file on the probe's image, and waits until every worker has it.
///
/// # Panics
/// When that fails.
pub async fn deploy(home: &Home, function: &str, config: FunctionConfig) -> Deployment {
    let runtime = format!("{}/runtime-probe:1", home.namespace());
    make_image(home, &runtime).await;
    let identifier = identifier(&home.docker, &runtime).await;
    // As Docker gives a folder of a build's.
    let files = packed(&[("files/app.txt", 0o644, function.as_bytes())]);
    let archive = archive::pack(files.as_slice()).expect("it is an archive");
    let config = FunctionConfig {
        archive: Some(Box::new(Archive {
            digest: Digest::of(&archive.expect("it is small"))
                .as_str()
                .to_owned(),
            runtime: identifier
                .expect("Docker answers")
                .expect("it was just made"),
        })),
        ..config
    };
    let revision = home.next_revision(function);
    let mut file = tempfile::tempfile().expect("there is room for it");
    file.write_all(&files).expect("there is room for it");
    file.rewind().expect("it is a file");
    let mut traces = Traces::default();
    let made = from_files(
        &home.docker,
        &revision,
        &config,
        &runtime,
        file,
        &mut traces,
    );
    if let Err(error) = made.await {
        panic!("no image on the probe's: {error}");
    }
    let deployment = revision.deployment(home.namespace(), config);
    home.deploy_image(&deployment).await;
    deployment
}

/// Makes the runtime's image.
async fn make_image(home: &Home, tag: &str) {
    let context = packed(&[
        ("Dockerfile", 0o644, DOCKERFILE.as_bytes()),
        ("probe", 0o755, &probe::executable()),
    ]);
    let labels = HashMap::from([(label::NAMESPACE, home.namespace())]);
    let options = BuildImageOptionsBuilder::default()
        .t(tag)
        .labels(&labels)
        .rm(true)
        .build();
    let client = home.docker.client().await.expect("Docker answers");
    let body = bollard::body_full(context.into());
    let told = client.build_image(options, None, Some(body));
    let told: Result<Vec<_>, _> = told.try_collect().await;
    told.unwrap_or_else(|error| panic!("no image of the probe as a runtime: {error}"));
}

/// An archive of files with their modes.
fn packed(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (path, mode, bytes) in files {
        let mut header = Header::new_gnu();
        header.set_mode(*mode);
        header.set_size(bytes.len() as u64);
        let added = archive.append_data(&mut header, path, *bytes);
        added.expect("it goes to memory");
    }
    archive.into_inner().expect("it goes to memory")
}

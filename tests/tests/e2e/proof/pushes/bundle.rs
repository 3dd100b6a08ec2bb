//! What the host's network asks of builds reaches the commands of a `Dockerfile`, and stays out of its image.

use corefn_core::names::label;
use corefn_tests::Home;
use corefn_tests::cli::corefn;
use corefn_tests::programs::workspace;
use corefn_tests::push::Repository;
use futures_util::TryStreamExt;

use crate::push::layers;

/// How many images there are of the installation, with those that have no name.
async fn images(home: &Home) -> usize {
    use bollard::query_parameters::ListImagesOptionsBuilder;
    let label = format!("{}={}", label::NAMESPACE, home.namespace());
    let options = ListImagesOptionsBuilder::default()
        .filters(&[("label", vec![label])].into())
        .build();
    let client = home.docker.client().await.unwrap();
    client.list_images(Some(options)).await.unwrap().len()
}

#[tokio::test]
async fn dockerfiles_trust_what_the_host_trusts() {
    let home = Home::start("bundle").await;
    let bundle = home.folder.file("work/demo.perl/ca.pem");
    home.set(&format!(
        "ca_bundle = '{}'\nno_proxy = 'localhost,here'\n",
        bundle.display()
    ));
    let perl = Repository::create(&home, "demo/perl").await;
    perl.write("ca.pem", "Whom to trust\n");
    perl.write(
        "Dockerfile",
        "FROM debian:bookworm-slim AS first\nCOPY . /app\n\
         RUN cmp \"$SSL_CERT_FILE\" /app/ca.pem && echo trusted, by way of $no_proxy\n\
         FROM first\n\
         RUN cmp \"$NODE_EXTRA_CA_CERTS\" /app/ca.pem && ls -A /app && echo trusted\n\
         CMD [\"perl\", \"/app/server.pl\"]\n",
    );
    let server = workspace().join("examples/dockerfile/server.pl");
    perl.run(&format!("cp '{}' .", server.display())).await;
    perl.commit("A server").await;
    let pushed = perl.push().await.accepted().says(&[
        "trusted, by way of localhost,here",
        "\nDockerfile\nca.pem\nserver.pl\ntrusted\n",
        "Successfully built",
    ]);
    assert!(!pushed.output.contains("/etc/corefn"), "{}", pushed.output);
    home.knows("demo/perl", &pushed.revision()).await;
    assert_eq!(home.get("/demo/perl/x").await.status, 200);
    nothing_stays(&home, &pushed.revision()).await;

    // The next push finds the layers of this one; one that is rejected leaves nothing new.
    let before = images(&home).await;
    perl.run("echo 'RUN exit 3' >> Dockerfile").await;
    perl.commit("Broken").await;
    perl.push().await.rejected(&["exit 3"]);
    assert_eq!(images(&home).await, before);
    perl.git("reset -q --hard HEAD^").await;
    perl.commit("Again").await;
    let again = perl.push().await.accepted();
    assert!(!again.output.contains("\ntrusted"), "{}", again.output);
    // (One more: its revision.)

    assert_eq!(images(&home).await, before + 1);
    corefn(&home, &["rm", "--yes", "demo/perl"])
        .await
        .succeeded();
    // The bundle's own.
    assert_eq!(images(&home).await, 1);
}

/// Neither the bundle nor what leads to it, nor the proxies, is in the image of a revision.
async fn nothing_stays(home: &Home, revision: &str) {
    let client = home.docker.client().await.unwrap();
    let tag = format!("{}/demo/perl:{revision}", home.namespace());
    let pieces: Vec<_> = client.export_image(&tag).try_collect().await.unwrap();
    for layer in layers(&pieces.concat()) {
        for entry in tar::Archive::new(&layer[..]).entries().unwrap() {
            let path = entry.unwrap().path().unwrap().display().to_string();
            assert!(!path.contains("etc/corefn"), "{path}");
        }
    }
    let config = client.inspect_image(&tag).await.unwrap().config.unwrap();
    for variable in config.env.unwrap() {
        let is_ours = ["/etc/corefn", "proxy"]
            .iter()
            .any(|part| variable.contains(part));
        assert!(!is_ours, "{variable}");
    }
}

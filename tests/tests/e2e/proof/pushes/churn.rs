//! Pushes while others make and remove images.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bollard::models::{ContainerConfig, ContainerCreateBody};
use bollard::query_parameters::{
    CommitContainerOptionsBuilder, CreateContainerOptions, RemoveImageOptions,
};
use corefn_core::names::label;
use corefn_tests::Home;
use corefn_tests::push::Repository;

/// How many make and remove images of the base at the same time.
const OTHERS: usize = 4;

/// Docker's builder looks at all that stands on an image for what it could use again, and fails when one of them goes
/// meanwhile, whosever it is.
#[tokio::test]
async fn images_that_others_remove_fail_no_push() {
    let home = Home::builder("churn").without_nginx().start().await;
    let client = home.docker.client().await.unwrap();
    let body = ContainerCreateBody {
        image: Some("debian:bookworm-slim".to_owned()),
        // So that it goes with the installation, whatever happens.
        labels: Some([(label::NAMESPACE.to_owned(), home.namespace().to_owned())].into()),
        ..ContainerCreateBody::default()
    };
    let created = client.create_container(None::<CreateContainerOptions>, body);
    let container = created.await.unwrap().id;
    let stop = Arc::new(AtomicBool::new(false));
    let mut others = Vec::new();
    for _ in 0..OTHERS {
        let (client, container, stop) = (client.clone(), container.clone(), stop.clone());
        others.push(tokio::spawn(async move {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                let options = CommitContainerOptionsBuilder::default().container(&container);
                let made = client.commit_container(options.build(), ContainerConfig::default());
                let id = made.await.unwrap().id;
                let removed = client.remove_image(&id, None::<RemoveImageOptions>, None);
                removed.await.unwrap();
                count += 1;
            }
            count
        }));
    }
    let perl = Repository::create(&home, "demo/perl").await;
    perl.example("dockerfile").await;
    for number in 0..20 {
        perl.write("number", &number.to_string());
        perl.commit("Another").await;
        perl.push().await.accepted();
    }
    stop.store(true, Ordering::Relaxed);
    let mut count = 0;
    for other in others {
        count += other.await.unwrap();
    }
    println!("20 pushes beside {count} images that were made and removed");
}

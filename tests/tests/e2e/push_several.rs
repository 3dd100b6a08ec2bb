//! Repositories that deploy several functions.

use corefn_build::deploy::switch;
use corefn_core::deployment::Deployment;
use corefn_core::instance::{Instance, InstanceId};
use corefn_tests::cli::corefn;
use corefn_tests::push::{Repository, builds};
use corefn_tests::{Home, probe};

use crate::push_rejected::{State, dockerfile};

const MANIFEST: &str = "[[function]]\nname = 'one'\npath = 'one'\n\n\
     [[function]]\nname = 'two'\npath = 'parts/two'\nroutes = ['/short']\n";

/// Writes a function's files, which answer in words of their own.
fn write(repository: &Repository, home: &Home, folder: &str, word: &str) {
    let server = include_str!("../../../examples/dockerfile/server.pl");
    repository.write(&format!("{folder}/Dockerfile"), &dockerfile(home));
    repository.write(
        &format!("{folder}/server.pl"),
        &server.replace("from Perl", word),
    );
}

/// What is done to the repository, as a script of the shell, and what the pusher is told.
const BAD: &[(&str, &str, &[&str])] = &[
    (
        "the second can't be built",
        "sed -i s/first/other/ one/server.pl; echo 'RUN exit 3' >> parts/two/Dockerfile",
        &[
            "==> shop/two, revision ",
            "Docker could not build the Dockerfile: ",
        ],
    ),
    (
        "the second does not start",
        "sed -i s/first/other/ one/server.pl; echo 'CMD [\"/nothing\"]' >> parts/two/Dockerfile",
        &["/nothing"],
    ),
    (
        "a folder that is not there",
        "sed -i 's#parts/two#part/two#' corefn.toml",
        &["corefn.toml:7:8: path: there is no folder part/two with files in it"],
    ),
    (
        "a link out of the folder",
        "ln -s ../../one/server.pl parts/two/other",
        &["the symbolic link other leads to ../../one/server.pl, out of parts/two: remove it"],
    ),
    (
        "a route of both",
        "sed -i \"2s#.*#&\\nroutes = ['/short']#\" corefn.toml",
        &["corefn.toml:7:8: shop/one has the route /short as well: take it out of one of them"],
    ),
    (
        "another Dockerfile's file",
        "echo 'COPY ../../one/server.pl /other' >> parts/two/Dockerfile",
        &["Docker could not build the Dockerfile: "],
    ),
];

async fn answers(home: &Home, want: &[(&str, &str)]) {
    for (path, word) in want {
        let answer = home.get(path).await;
        let want = format!("GET /x, 0 bytes, {word}\n");
        assert_eq!((answer.status, answer.text()), (200, want), "{path}");
    }
}

/// Each has its own folder, files outside of which it does not get, and all are deployed or none.
#[tokio::test]
async fn functions_of_one_repository() {
    let home = Home::start("functions").await;
    let shop = Repository::create(&home, "shop").await;
    shop.write("corefn.toml", MANIFEST);
    write(&shop, &home, "one", "first");
    write(&shop, &home, "parts/two", "second");
    shop.commit("Two").await;
    let pushed = shop.push().await.accepted().says(&[
        "==> shop/one, revision ",
        "==> shop/two, revision ",
        "==> deployed shop/one, revision ",
        "curl http://localhost/shop/one/",
        "==> deployed shop/two, revision ",
        "curl http://localhost/shop/two/",
    ]);
    for function in ["shop/one", "shop/two"] {
        home.knows(function, &pushed.revision()).await;
    }
    let good = [
        ("/shop/one/x", "first"),
        ("/shop/two/x", "second"),
        ("/short/x", "second"),
    ];
    answers(&home, &good).await;

    let before = State::of(&home, &shop).await;
    for (what, change, says) in BAD {
        println!("{what}");
        shop.git("reset -q --hard origin/main").await;
        shop.run(change).await;
        shop.commit(what).await;
        shop.push().await.rejected(says);
        assert_eq!(State::of(&home, &shop).await, before, "{what}");
        assert!(builds(&home.docker).await.is_empty(), "{what}");
        answers(&home, &good).await;
    }

    // One that is taken out stays, and is told of.
    shop.git("reset -q --hard origin/main").await;
    shop.run("sed -i 1,4d corefn.toml").await;
    shop.commit("Without the first").await;
    shop.push().await.accepted().says(&[
        "warning: shop/one, which an earlier push has deployed, is no longer in this repository",
        "corefn rm shop/one removes it",
    ]);
    answers(&home, &good).await;

    // The repository goes with the last of them, not with another.
    let alone = "error: the repository shop also deploys shop/two: remove these first, or leave out --repository";
    let rm = async |words: &[&str]| corefn(&home, &[&["rm", "--yes"], words].concat()).await;
    rm(&["--repository", "shop/one"]).await.failed(1, &[alone]);
    answers(&home, &good).await;
    rm(&["shop/one"]).await.succeeded();
    rm(&["--repository", "shop/one"]).await.failed(1, &[alone]);
    answers(&home, &good[1..]).await;
    rm(&["--repository", "shop/two"]).await.succeeded();
    assert!(!shop.bare().exists());
}

/// Nobody deploys over the function of another repository, until it has been removed.
#[tokio::test]
async fn functions_belong_to_one_repository() {
    let home = Home::start("owner").await;
    let orders = Repository::create(&home, "shop/orders").await;
    write(&orders, &home, ".", "its own");
    orders.commit("One").await;
    let pushed = orders.push().await.accepted();
    home.knows("shop/orders", &pushed.revision()).await;

    let shop = Repository::create(&home, "shop").await;
    shop.write(
        "corefn.toml",
        "[[function]]\nname = 'orders'\npath = 'orders'\n",
    );
    write(&shop, &home, "orders", "the shop's");
    shop.commit("Orders as well").await;
    let before = State::of(&home, &shop).await;
    shop.push().await.rejected(&[
        "shop/orders is deployed from the repository shop/orders: push it there, or remove it first \
         (corefn rm shop/orders)",
    ]);
    assert_eq!(State::of(&home, &shop).await, before);
    answers(&home, &[("/shop/orders/x", "its own")]).await;
    corefn(&home, &["rm", "--yes", "shop/orders"])
        .await
        .succeeded();
    let pushed = shop.push().await.accepted();
    home.knows("shop/orders", &pushed.revision()).await;
    answers(&home, &[("/shop/orders/x", "the shop's")]).await;

    // And the other way round.
    orders.run("echo >> server.pl").await;
    orders.commit("Once more").await;
    orders
        .push()
        .await
        .rejected(&["shop/orders is deployed from the repository shop: push it there"]);
}

/// Where one can't be deployed, the other is not, and no image is called the current one that isn't.
#[tokio::test]
async fn revisions_are_deployed_together() {
    let home = Home::builder("together").without_nginx().start().await;
    let old = [
        home.deploy("shop/one", probe::config()).await,
        home.deploy("shop/two", probe::config()).await,
    ];
    let new = [
        home.image("shop/one", probe::config()).await,
        home.image("shop/two", probe::config()).await,
    ];
    // Nobody has claimed it, as if the claim of a push that took long had lapsed.
    let lapsed = Instance {
        id: InstanceId::from_random(1),
        function: new[1].function.clone(),
        revision: new[1].revision.clone(),
        container: "0".repeat(64),
        address: "127.0.0.1:1".parse().unwrap(),
    };
    let revisions = [(&new[0], None), (&new[1], Some(&lapsed))];
    let error = switch(&home.docker, &home.store, &revisions).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("Redis has lost its note of the instance"),
        "{error}"
    );
    assert_eq!(deployed(&home).await, old);
    assert_eq!(
        current(&home).await,
        old.each_ref().map(|one| one.image.clone())
    );

    let revisions = [(&new[0], None), (&new[1], None)];
    switch(&home.docker, &home.store, &revisions).await.unwrap();
    assert_eq!(deployed(&home).await, new);
    assert_eq!(
        current(&home).await,
        new.each_ref().map(|one| one.image.clone())
    );
}

async fn deployed(home: &Home) -> Vec<Deployment> {
    let mut deployments = home.store.deployments().await.unwrap();
    deployments.sort_by(|a, b| a.function.cmp(&b.function));
    deployments
}

/// The tags of the images that Docker knows as the current ones, by function.
async fn current(home: &Home) -> Vec<String> {
    let mut images = home.docker.images().await.unwrap();
    images.retain(|image| image.current);
    images.sort_by(|a, b| a.deployment.function.cmp(&b.deployment.function));
    images
        .into_iter()
        .map(|image| image.deployment.image)
        .collect()
}

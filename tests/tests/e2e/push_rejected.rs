//! Pushes that are rejected, and what they leave: nothing.

use std::collections::HashMap;
use std::fs;

use bollard::query_parameters::ListImagesOptionsBuilder;
use corefn_core::names::HOST_FILE;
use corefn_tests::Home;
use corefn_tests::push::{Repository, builds};

/// What marks the images of a repository's `Dockerfile`, and all that is made on the way to them.
const MARK: &str = "test.mark";

/// A server that needs nothing compiled.
const DOCKERFILE: &str = "FROM debian:bookworm-slim\nLABEL test.mark=NAMESPACE\n\
     COPY server.pl /\nCMD [\"perl\", \"/server.pl\"]\n";

/// A `Dockerfile` for `server.pl`, whose layers [`State`] counts.
pub fn dockerfile(home: &Home) -> String {
    DOCKERFILE.replace("NAMESPACE", home.namespace())
}

/// A repository whose function is deployed.
pub async fn deployed(home: &Home, name: &str) -> Repository {
    let repository = Repository::create(home, name).await;
    repository.example("dockerfile").await;
    repository.write("Dockerfile", &dockerfile(home));
    repository.commit("Good").await;
    repository.push().await.accepted();
    repository
}

/// What there is after a push that changed nothing.
#[derive(Debug, PartialEq)]
pub struct State {
    head: Option<String>,
    tags: Vec<String>,
    routes: Vec<(String, String)>,
    /// How many images and layers come of the repositories' own `Dockerfile`s.
    layers: usize,
}

impl State {
    pub async fn of(home: &Home, repository: &Repository) -> Self {
        let images = home.docker.images().await.unwrap();
        let mut tags: Vec<_> = images.into_iter().flat_map(|image| image.tags).collect();
        tags.sort();
        let mut routes: Vec<(String, String)> = home
            .redis
            .command(&["HGETALL", &home.store.keys().routes()])
            .await;
        routes.sort();
        let mark = format!("{MARK}={}", home.namespace());
        let marked = ListImagesOptionsBuilder::default()
            .all(true)
            .filters(&HashMap::from([("label", vec![mark])]))
            .build();
        let client = home.docker.client().await.unwrap();
        let layers = client.list_images(Some(marked)).await.unwrap().len();
        Self {
            head: repository.head("main").await,
            tags,
            routes,
            layers,
        }
    }
}

/// A change to a repository, as a script of the shell, and what the pusher is told.
struct Row {
    what: &'static str,
    change: &'static str,
    says: &'static [&'static str],
}

const ROWS: &[Row] = &[
    Row {
        what: "nothing in it",
        change: "git rm -q -r .",
        says: &["the pushed commit has no files: commit at least the function's sources"],
    },
    Row {
        what: "a link out of the tree",
        change: "mkdir conf; ln -s ../../etc/passwd conf/users",
        says: &[
            "the symbolic link conf/users leads to ../../etc/passwd, out of the repository",
            "remove it, or let it lead to a path within",
        ],
    },
    Row {
        what: "an absolute link",
        change: "ln -s /etc/passwd users",
        says: &["the symbolic link users leads to /etc/passwd, out of the repository"],
    },
    Row {
        what: "a submodule",
        change: "git update-index --add --cacheinfo 160000,$(git rev-parse HEAD),vendor/lib; \
                 mkdir -p vendor/lib; git init -q vendor/lib; \
                 git -C vendor/lib commit -q --allow-empty -m x",
        says: &[
            "vendor/lib is a submodule, whose files a push does not bring along",
            "git rm vendor/lib",
        ],
    },
    Row {
        what: "an unknown key",
        change: "printf '[function]\\nrutes = [\"/x\"]\\n' > corefn.toml",
        says: &["corefn.toml:2:1: [function] has no key \"rutes\": did you mean \"routes\"?"],
    },
    Row {
        what: "wrong types",
        change: "printf '[function]\\nhealth = 5\\nlimits = { pids = \"many\" }\\n' > corefn.toml",
        says: &[
            "corefn.toml:2:10: health is an integer, not a string: write health = \"/healthz\"",
            "corefn.toml:3:19: pids is a string, not an integer: write pids = 64",
        ],
    },
    Row {
        what: "a bad duration",
        change: "printf '[function]\\nscale = { idle = \"1 minute\" }\\n' > corefn.toml",
        says: &["corefn.toml:2:18: idle: ", "\"1 minute\""],
    },
    Row {
        what: "a schedule that means nothing",
        change: "printf '[function]\\nschedule = [\n  \"0 0 30 2 *\",\n  \"@daily Europe/Atlantis\",\n  \"61 * * * *\",\n]\\n' \
                 > corefn.toml",
        says: &[
            "corefn.toml:3:3: schedule: \"0 0 30 2 *\" never comes: no month has such a day",
            "corefn.toml:4:3: schedule: there is no time zone \"Europe/Atlantis\": write one such as Europe/Berlin",
            "corefn.toml:5:3: schedule: \"61 * * * *\" is no cron expression",
        ],
    },
    Row {
        what: "a line of a schedule that is none",
        change: "printf '[function]\\nschedule = \"0 */5 * * * *\"\\n' > corefn.toml",
        says: &[
            "corefn.toml:2:12: schedule: \"0 */5 * * * *\": \"*\" is neither a time zone",
            "none for seconds",
        ],
    },
    Row {
        what: "no TOML",
        change: "printf '[function\\n' > corefn.toml",
        says: &["corefn.toml:1:"],
    },
    Row {
        what: "a manifest that is no text",
        change: "printf '\\377' > corefn.toml",
        says: &["corefn.toml is no UTF-8 text: save it as UTF-8"],
    },
    Row {
        what: "another name than the repository's",
        change: "printf '[function]\\nname = \"other\"\\n' > corefn.toml",
        says: &[
            "corefn.toml:2:8: name is \"other\", but the repository demo/hello deploys demo/hello",
            "push to demo/other",
        ],
    },
    Row {
        what: "an unknown stack",
        change: "printf '[function]\\nstack = \"perl\"\\n' > corefn.toml",
        says: &["corefn.toml:2:9: there is no stack \"perl\": write one of dockerfile, c, "],
    },
    Row {
        what: "no stack that fits",
        change: "git rm -q Dockerfile",
        says: &[
            "no stack fits this repository. At its root there should be:",
            "Dockerfile for the stack dockerfile",
            "Cargo.toml for the stack rust",
        ],
    },
    Row {
        what: "a route that another function has",
        change: "printf '[function]\\nroutes = [\"/mine\", \"/demo/other\"]\\n' > corefn.toml",
        says: &[
            "the route /mine of demo/hello belongs to demo/other: take it out of one of them",
            "the route /demo/other of demo/hello belongs to demo/other",
        ],
    },
    Row {
        what: "a network that the host does not have",
        change: "printf '[function]\\nnetwork = \"database\"\\n' > corefn.toml",
        says: &[
            "corefn.toml:2:11: there is no network \"database\" on this host: write one of outbound, none",
        ],
    },
    Row {
        what: "a Dockerfile that is none",
        change: "echo 'COLOUR red' >> Dockerfile",
        says: &["Docker could not build the Dockerfile: ", "COLOUR"],
    },
    Row {
        what: "a Dockerfile that fails",
        change: "echo 'RUN echo no such thing >&2; exit 3' >> Dockerfile",
        says: &[
            "no such thing",
            "Docker could not build the Dockerfile: ",
            "returned a non-zero code: 3",
        ],
    },
    Row {
        what: "a Dockerfile whose base is nowhere",
        change: "sed -i 's/^FROM.*/FROM nowhere.invalid\\/nothing:1/' Dockerfile",
        says: &["Dockerfile:1: Docker could not pull the image nowhere.invalid/nothing:1"],
    },
    Row {
        what: "a function that exits at once",
        change: "echo 'die \"no settings\\n\";' > server.pl",
        says: &[
            "the new revision does not start, so it is not deployed: demo/hello exited with code",
            "before it listened on port 8080; its last output:",
            "no settings",
        ],
    },
    Row {
        what: "a command that isn't there",
        change: "echo 'CMD [\"/nothing\"]' >> Dockerfile",
        says: &[
            "the new revision does not start, so it is not deployed: ",
            "/nothing",
        ],
    },
];

#[tokio::test]
async fn bad_pushes_change_nothing() {
    let home = Home::start("rejected").await;
    let other = deployed(&home, "demo/other").await;
    other.write("corefn.toml", "[function]\nroutes = ['/mine']\n");
    other.commit("A route").await;
    other.push().await.accepted();
    let hello = deployed(&home, "demo/hello").await;
    let first = home.store.deployments().await.unwrap();
    let first = first.iter().find(|found| found.function.name() == "hello");
    home.knows("demo/hello", &first.unwrap().revision.0).await;
    assert_eq!(home.get("/demo/hello/x").await.status, 200);
    let good = State::of(&home, &hello).await;

    for Row { what, change, says } in ROWS {
        hello.git("checkout -q -f -B main origin/main").await;
        hello.git("clean -q -ffdx").await;
        hello.run(change).await;
        hello.commit(what).await;
        let logs = logs(&hello);
        let pushed = hello.push().await;
        println!("---- {what}\n{}\n", pushed.output);
        let last = pushed.rejected(says).says(&["main -> main (not deployed)"]);
        assert!(last.output.contains("error: "), "{}", last.output);
        assert_eq!(State::of(&home, &hello).await, good, "{what}");
        assert_eq!(builds(&home.docker).await.len(), 0, "{what}");
        assert_eq!(self::logs(&hello), logs + 1, "{what}: its log is kept");
        let answer = home.get("/demo/hello/x").await;
        assert_eq!(answer.text(), "GET /x, 0 bytes, from Perl\n", "{what}");
    }

    // The next good one lands.
    hello.git("checkout -q -f -B main origin/main").await;
    hello.replace("server.pl", "from Perl", "from Perl again");
    hello.commit("Good again").await;
    let pushed = hello.push().await.accepted();
    home.knows("demo/hello", &pushed.revision()).await;
    let answer = home.get("/demo/hello/x").await;
    assert_eq!(answer.text(), "GET /x, 0 bytes, from Perl again\n");
}

/// How many logs of builds a repository has.
fn logs(repository: &Repository) -> usize {
    let folder = repository.bare().join("corefn/builds");
    fs::read_dir(folder).map_or(0, Iterator::count)
}

#[tokio::test]
async fn only_the_default_branch_deploys() {
    let home = Home::builder("branches").without_nginx().start().await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.example("dockerfile").await;
    hello.push().await.accepted();
    let good = State::of(&home, &hello).await;

    hello.git("commit -q --allow-empty -m Feature").await;
    let feature = hello.begin_push("main:feature").end().await;
    feature
        .accepted()
        .says(&["feature is kept but not deployed: main is what deploys"]);
    assert_eq!(
        hello.head("feature").await,
        Some(hello.git("rev-parse HEAD").await)
    );
    hello.git("reset -q --hard HEAD^").await;
    assert_eq!(State::of(&home, &hello).await, good);

    let deletion = hello.begin_push(":main").end().await;
    deletion.rejected(&[
        "main is what is deployed, so it can't be deleted: to remove the function run corefn rm \
         demo/hello",
    ]);
    assert_eq!(State::of(&home, &hello).await, good);

    // Any other may be deleted.
    hello.begin_push(":feature").end().await.accepted();
    assert_eq!(hello.head("feature").await, None);

    // History is rewritten only by force, and then what deploys follows.
    hello.git("commit -q --amend -m Rewritten").await;
    hello.push().await.rejected(&["non-fast-forward"]);
    assert_eq!(State::of(&home, &hello).await, good);
    hello.begin_push("+main").end().await.accepted();
    assert_eq!(
        hello.head("main").await,
        Some(hello.git("rev-parse HEAD").await)
    );
}

/// Whatever it is called, and though git has its own idea of what a new repository begins with.
#[tokio::test]
async fn first_branch_of_a_new_repository_deploys() {
    let home = Home::builder("trunk").without_nginx().start().await;
    let hello = Repository::create(&home, "demo/hello").await;
    hello.write("Dockerfile", "FROM scratch\n");
    hello.commit("No function").await;
    // Rejected, it is not yet the first.
    let broken = hello.begin_push("main:broken").end().await;
    broken.rejected(&["==> building the Dockerfile"]);
    hello.example("dockerfile").await;
    hello.git("tag v1").await;
    let both = hello.begin_push("main:trunk").end().await;
    both.accepted().says(&["==> deployed demo/hello"]);
    let head = fs::read_to_string(hello.bare().join("HEAD")).unwrap();
    assert_eq!(head.trim_end(), "ref: refs/heads/trunk");
    let main = hello.begin_push("main").end().await;
    main.accepted()
        .says(&["main is kept but not deployed: trunk is what deploys"]);
    let tag = hello.begin_push("v1").end().await;
    tag.accepted()
        .says(&["v1 is kept but not deployed: trunk is what deploys"]);
}

#[tokio::test]
async fn without_redis_or_docker_pushes_are_rejected() {
    let home = Home::builder("away").without_nginx().without_gate();
    let mut home = home.start().await;
    let hello = deployed(&home, "demo/hello").await;
    hello.replace("server.pl", "from Perl", "from Perl again");
    hello.commit("Good").await;
    let good = State::of(&home, &hello).await;

    let settings = home.folder.read(HOST_FILE);
    let gone = settings.replace("/var/run/docker.sock", "/nowhere/docker.sock");
    home.folder.write(HOST_FILE, gone);
    hello.push().await.rejected(&[
        "Docker at unix:///nowhere/docker.sock can't be reached",
        "start it, or correct the docker setting",
    ]);
    home.folder.write(HOST_FILE, &settings);
    assert_eq!(State::of(&home, &hello).await, good);

    home.redis.stop().await;
    let url = home.redis.shown();
    hello.push().await.rejected(&[
        &format!("Redis at {url} can't be used"),
        "start it, or correct the redis setting",
    ]);
    assert_eq!(hello.head("main").await, good.head);
    let images = home.docker.images().await.unwrap();
    let tags: Vec<_> = images.into_iter().flat_map(|image| image.tags).collect();
    assert_eq!(tags.len(), good.tags.len(), "{tags:?}");

    home.folder.write(HOST_FILE, "colour = 'red'\n");
    hello.push().await.rejected(&["host.toml: ", "colour"]);
    home.folder.write(HOST_FILE, &settings);

    // With an empty Redis, which has to be filled from Docker first, it lands.
    home.redis.start().await;
    hello.push().await.accepted();
    assert_eq!(
        hello.head("main").await,
        Some(hello.git("rev-parse HEAD").await)
    );
}

/// The branch and the deployment go together: where git can't move the one, the other is not switched.
#[tokio::test]
async fn branch_that_can_not_be_moved_deploys_nothing() {
    let home = Home::builder("locked").without_nginx().start().await;
    let hello = deployed(&home, "demo/hello").await;
    let good = State::of(&home, &hello).await;
    // As somebody leaves it who was killed while moving the branch.
    let lock = hello.bare().join("refs/heads/main.lock");
    fs::write(&lock, "").unwrap();
    hello.commit("Locked out").await;
    hello.push().await.rejected(&[
        "cannot lock ref",
        "main can't be moved",
        "main -> main (not deployed)",
    ]);
    assert_eq!(State::of(&home, &hello).await, good);
    fs::remove_file(&lock).unwrap();
    hello.push().await.accepted();
    assert!(!lock.exists());

    // Other branches are git's, and so is what it is told of them.
    hello.git("branch other").await;
    hello.commit("Two at once").await;
    hello.run("echo 'RUN exit 3' >> Dockerfile").await;
    hello.commit("Broken").await;
    let both = hello.begin_push("main other").end().await;
    both.rejected(&[
        "main -> main (not deployed)",
        "[new branch]      other -> other",
    ]);
    assert!(hello.head("other").await.is_some());
    hello.git("push -q origin :other").await;
    assert_eq!(hello.head("other").await, None);

    // A repository that only goes forward.
    hello.git("reset -q --hard HEAD^^^").await;
    let setting = format!(
        "git -C '{}' config receive.denyNonFastForwards",
        hello.bare().display()
    );
    hello.run(&format!("{setting} true")).await;
    hello.commit("Another way").await;
    hello
        .begin_push("+main")
        .end()
        .await
        .rejected(&["main would lose commits"]);
    hello.run(&format!("{setting} false")).await;
    hello.begin_push("+main").end().await.accepted();
}

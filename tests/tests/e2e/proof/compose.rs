//! A host in containers, as `compose.yaml` makes one: from nothing to an answer, through restarts and an upgrade,
//! and down again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use corefn_core::names::{self, header, label};
use corefn_engine::docker::Docker;
use corefn_tests::cli::{Ran, ran};
use corefn_tests::client::Client;
use corefn_tests::folder::Folder;
use corefn_tests::git_host::ssh_command;
use corefn_tests::port::Port;
use corefn_tests::programs::workspace;
use corefn_tests::{docker, wait_until};
use tokio::process::Command;

/// The most that the image of a service may have, in bytes.
const MOST: u64 = 150_000_000;

const SERVICES: [&str; 9] = [
    "redis",
    "git",
    "builder",
    "gate",
    "host",
    "keeper",
    "cleaner",
    "dispatcher",
    "firewall",
];

/// How long a service may take to answer again.
const PATIENCE: Duration = Duration::from_secs(60);

/// A checkout of its own, and what is set for it. Dropping it takes down what is left.
struct Host {
    folder: Folder,
    ports: [Port; 2],
}

impl Host {
    /// Copies what git knows of the workspace, with the certificates that this machine was told to trust.
    async fn check_out() -> Self {
        let host = Self {
            folder: Folder::create("compose"),
            ports: [Port::reserve(), Port::reserve()],
        };
        let to = host.checkout();
        let (from, bundle) = (
            workspace(),
            std::env::var("SSL_CERT_FILE").unwrap_or_default(),
        );
        let script = format!(
            "mkdir '{0}' && cd '{1}' && git ls-files -z | xargs -0 cp --parents -t '{0}' && \
             if [ -n '{bundle}' ]; then cp '{bundle}' '{0}/ca.pem'; fi",
            to.display(),
            from.display()
        );
        host.run(&script).await.succeeded();
        // The folder of state is passed through by other accounts.
        host.run("chmod 755 . && mkdir state && if [ -e checkout/ca.pem ]; then cp checkout/ca.pem state/; fi")
            .await
            .succeeded();
        host
    }

    fn checkout(&self) -> PathBuf {
        self.folder.file("checkout")
    }

    /// Runs a script in its folder, as an operator would.
    async fn run(&self, script: &str) -> Ran {
        ran(Command::new("sh")
            .args(["-euc", script])
            .current_dir(self.folder.path())
            .envs(self.settings()))
        .await
    }

    /// Runs a command of `docker-compose`.
    async fn compose(&self, arguments: &str) -> Ran {
        let script = format!("cd checkout && exec docker-compose {arguments}");
        self.run(&script).await
    }

    /// The variables that compose.yaml reads, and some for the scripts here.
    fn settings(&self) -> Vec<(String, String)> {
        let [port, ssh] =
            [&self.ports[0], &self.ports[1]].map(|port| port.address().port().to_string());
        let text = include_str!("compose.env")
            .replace("@FOLDER@", &self.folder.path().display().to_string())
            .replace("@NAME@", self.folder.name())
            .replace("@PORT@", &port)
            .replace("@SSH_PORT@", &ssh);
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// What asks for functions.
    fn client(&self) -> Client {
        Client::new(self.ports[0].address())
    }

    /// ssh with alice's key, and a command for the git host.
    async fn ssh(&self, command: &str) -> Ran {
        let script = format!(
            "{} -p $SSH_PORT git@127.0.0.1 {command}",
            self.ssh_command()
        );
        self.run(&script).await
    }

    fn ssh_command(&self) -> String {
        ssh_command(&self.folder.file("key"), &self.folder.file("known_hosts"))
    }

    /// The containers of functions.
    async fn instances(&self) -> Vec<String> {
        let docker = Docker::new(docker::URL, self.folder.name());
        let containers = docker.containers().await.unwrap();
        let found = containers
            .into_iter()
            .filter(|found| found.has(label::FUNCTION, "alice/hello"));
        found.map(|found| found.id).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // (The stage that compiles has no name: it gets one, so that it can be removed with what is below it.)
        let script = "cd checkout && compose/down --purge; \
                      docker build -q --target build -t $NAME/build . >/dev/null 2>&1; \
                      docker images --format '{{.Repository}}:{{.Tag}}' | grep \"^$NAME/\" | xargs -r docker rmi; \
                      rm -rf ../state";
        let mut command = std::process::Command::new("sh");
        let command = command.args(["-c", script]).envs(self.settings());
        self.folder.tidy(command.current_dir(self.folder.path()));
    }
}

/// Asks for the function all the time, and counts.
struct Traffic {
    answered: Arc<AtomicU32>,
    failed: Arc<AtomicU32>,
    ends: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Traffic {
    fn start(client: Client) -> Self {
        let (answered, failed) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
        let ends = Arc::<AtomicBool>::default();
        let counts = (answered.clone(), failed.clone(), ends.clone());
        let task = tokio::spawn(async move {
            let (answered, failed, ends) = counts;
            while !ends.load(Ordering::Relaxed) {
                let answer = client.get("/alice/hello/HelloWorld").send().await;
                let count = match answer {
                    Ok(answer) if answer.status == 200 => &answered,
                    _ => &failed,
                };
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        Self {
            answered,
            failed,
            ends,
            task,
        }
    }

    /// How many have failed since it was asked the last time, once a hundred more are answered.
    async fn failed(&self) -> u32 {
        let begin = self.answered.load(Ordering::Relaxed);
        wait_until("requests are answered", PATIENCE, async || {
            self.answered.load(Ordering::Relaxed) >= begin + 100
        })
        .await;
        self.failed.swap(0, Ordering::Relaxed)
    }

    async fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn host_in_containers() {
    let host = Host::check_out().await;
    host.compose("up -d --build").await.succeeded();
    let names = SERVICES.join(" ");
    let sizes = format!(
        "for name in {names}; do docker image inspect --format '{{{{.Size}}}}' $NAME/$name; done"
    );
    let sizes = host.run(&sizes).await;
    let sizes = sizes.succeeded().lines().map(|line| line.parse().unwrap());
    let sizes: Vec<(&str, u64)> = SERVICES.into_iter().zip(sizes).collect();
    println!("images: {sizes:?}");
    assert!(sizes.iter().all(|(_, size)| *size <= MOST), "{sizes:?}");
    wait_until("all services are healthy", PATIENCE, async || {
        let states = host
            .run("docker ps --filter label=com.docker.compose.project=$NAME")
            .await;
        states.succeeded().matches("(healthy)").count() == SERVICES.len()
    })
    .await;

    // Nothing that serves requests has Docker's socket.
    let mounts = "docker inspect --format '{{range .Mounts}}{{.Source}} {{end}}' $(docker ps -q --filter label=com.docker.compose.project=$NAME --filter label=com.docker.compose.service=host)";
    let mounts = host.run(mounts).await;
    assert!(!mounts.succeeded().contains("docker.sock"), "{mounts:?}");

    // A key, a push, an answer.
    host.run("ssh-keygen -q -t ed25519 -N '' -C test -f key")
        .await
        .succeeded();
    host.compose("exec -T builder corefn key add alice <../key.pub")
        .await
        .succeeded();
    let push = format!(
        "cp -r checkout/examples/python hello && cd hello && git init -q -b main . && git add . && \
         git -c user.name=A -c user.email=a@example.com commit -q -m Hello && \
         GIT_SSH_COMMAND='{}' git push ssh://git@127.0.0.1:$SSH_PORT/alice/hello main",
        host.ssh_command()
    );
    let pushed = host.run(&push).await;
    pushed.succeeded();
    assert!(
        pushed.errors.contains("==> deployed alice/hello"),
        "{pushed:?}"
    );
    assert!(
        pushed.errors.contains("curl http://localhost:"),
        "{pushed:?}"
    );
    let answer = host.client().get("/alice/hello/HelloWorld").await;
    assert_eq!((answer.status, &*answer.text()), (200, "Hello world!"));
    assert!(host.ssh("ls").await.succeeded().contains("alice/hello"));

    // A secret can be opened by whoever starts the function: the builder, and the router, when root has rotated its key as well.
    let set = format!(
        "printf hidden | {} -p $SSH_PORT git@127.0.0.1 'secret set alice/hello TOKEN'",
        host.ssh_command()
    );
    host.run(&set).await.succeeded();
    let rotated = host.compose("exec -T builder corefn secret rotate").await;
    assert!(rotated.succeeded().contains("1 values"), "{rotated:?}");
    for id in host.instances().await {
        host.run(&format!("docker rm -f {id}")).await.succeeded();
    }
    let answer = host.client().get("/alice/hello/HelloWorld").await;
    assert_eq!((answer.status, &*answer.text()), (200, "Hello world!"));
    let set = host.ssh("secret list alice/hello").await;
    assert!(set.succeeded().contains("deployed"), "{set:?}");

    // Who does not wait is told how it went.
    let request = host.client().post("/alice/hello/HelloWorld", "");
    let answer = request.header("Prefer", "respond-async").await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let told = answer.header("Location").unwrap().to_owned();
    wait_until("it has ended", PATIENCE, async || {
        let going = host.client().get(&told).await;
        going.status == 200 && going.json()["state"] == "done"
    })
    .await;
    let listed = host.ssh("queue ls alice/hello --json").await;
    assert_eq!(listed.succeeded().trim(), "[]");

    // The rules that keep functions from the host are there again when somebody has removed them.
    let check = "docker exec $(docker ps -q --filter label=com.docker.compose.project=$NAME \
                 --filter label=com.docker.compose.service=firewall) corefn firewall check";
    host.run(check).await.succeeded();
    let table = names::firewall(host.folder.name());
    host.run(&format!("nft delete table inet {table}"))
        .await
        .succeeded();
    wait_until("the firewall is there again", PATIENCE, async || {
        host.run(check).await.code == 0
    })
    .await;

    // Nobody is root who need not be, and git's container has nothing but git.
    for (service, wanted) in [
        ("redis", "redis-server"),
        ("git", "sshd"),
        ("builder", "corefn-build"),
        ("cleaner", "corefn-clean"),
        ("dispatcher", "corefn-dispat"),
        ("keeper", "corefn-keep"),
    ] {
        let id = host
            .compose(&format!("ps -q {service}"))
            .await
            .succeeded()
            .trim()
            .to_owned();
        let top = host.run(&format!("docker top {id} -o pid,uid,comm")).await;
        assert!(top.succeeded().contains(wanted), "{top:?}");
        let mut users = top
            .succeeded()
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().nth(1));
        assert!(users.all(|user| user != Some("0")), "{service}: {top:?}");
    }
    for secret in [
        "cat /var/func/host.toml",
        "ls /var/func/run",
        "ls /var/run/docker.sock",
        "ls /var/func/secrets",
        "touch /var/func/access.toml",
    ] {
        let tried = host.compose(&format!("exec -T git {secret}")).await;
        assert_ne!(tried.code, 0, "{secret}: {tried:?}");
    }

    // Each service is restarted, and then all are replaced, as an upgrade does.
    let before = host.instances().await;
    let traffic = Traffic::start(host.client());
    assert_eq!(traffic.failed().await, 0);
    for service in ["redis", "git", "builder", "keeper", "cleaner", "firewall"] {
        host.compose(&format!("restart {service}"))
            .await
            .succeeded();
        assert_eq!(traffic.failed().await, 0, "{service} was restarted");
    }
    host.compose("restart host").await.succeeded();
    println!(
        "{} requests failed while nginx was restarted",
        traffic.failed().await
    );
    assert_eq!(traffic.failed().await, 0, "nginx is there again");
    host.compose("up -d --force-recreate").await.succeeded();
    println!(
        "{} requests failed while all was replaced",
        traffic.failed().await
    );
    assert_eq!(traffic.failed().await, 0, "all is there again");
    traffic.end().await;
    assert_eq!(host.instances().await, before, "functions go on");
    wait_until("the git host is there again", PATIENCE, async || {
        host.ssh("ls").await.code == 0
    })
    .await;
    assert!(host.ssh("ls").await.succeeded().contains("alice/hello"));
    let unknown = host.client().get("/alice/other/x").await;
    assert_eq!(unknown.header(header::ERROR), Some("unknown-function"));

    host.run("cd checkout && compose/down --purge")
        .await
        .succeeded();
    let left = host
        .run(&format!(
            "docker ps -aq --filter label={0}=$NAME; docker ps -aq --filter label=com.docker.compose.project=$NAME; \
             docker network ls -q --filter name=$NAME; docker volume ls -q --filter name=$NAME; \
             docker images -q --filter label={0}=$NAME; nft list tables | grep -w {1} || true",
            label::NAMESPACE,
            names::firewall(host.folder.name())
        ))
        .await;
    assert_eq!(left.succeeded(), "");
}

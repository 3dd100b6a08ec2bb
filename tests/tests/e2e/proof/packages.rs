//! Debian's packages, on a machine that has nothing but nginx: installed by the README's words, upgraded under traffic, removed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use corefn_core::names::label;
use corefn_tests::cli::{Ran, ran};
use corefn_tests::client::Client;
use corefn_tests::folder::Folder;
use corefn_tests::git_host::ssh_command;
use corefn_tests::load::Load;
use corefn_tests::programs::{target, workspace};
use corefn_tests::wait_until;
use tokio::process::Command;

/// Where the packages are, as the README has it.
const PACKAGES: &str = "target/deb";

/// What Docker and a builder's image begin with; a machine with the internet would pull it.
const BASE: &str = "debian:bookworm-slim";

/// From the first word of the README to an answer, compiling excluded.
const MOST: Duration = Duration::from_secs(180);

const PATIENCE: Duration = Duration::from_secs(60);

/// The machine: a container that runs systemd, an engine of its own, and nothing of the host's.
struct Machine {
    folder: Folder,
    address: String,
}

impl Machine {
    async fn start() -> Self {
        let folder = Folder::create("packages");
        let mut machine = Self {
            folder,
            address: String::new(),
        };
        let bare = "FROM debian:bookworm-slim\n\
                    RUN apt-get update -q && apt-get install -q -y --no-install-recommends systemd systemd-sysv nginx\n";
        std::fs::create_dir(machine.folder.file("bare")).unwrap();
        machine.folder.write("bare/Dockerfile", bare);
        // (A machine may itself have no such capability to give.)
        let start = format!(
            "DOCKER_BUILDKIT=0 docker build -q --label {label}=$NAME -t $NAME/bare bare && \
             bounding=$(sed -n 's/^CapBnd:\\s*//p' /proc/self/status) && \
             drop= && if [ $((0x$bounding >> 24 & 1)) = 0 ]; then drop='--cap-drop SYS_RESOURCE'; fi && \
             docker run -d --name $NAME --label {label}=$NAME --cap-add ALL $drop --cgroupns private \
                 --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined \
                 --tmpfs /run --tmpfs /run/lock -v /var/lib/docker -e container=docker $NAME/bare \
                 sh -c 'for folder in /sys/fs/cgroup/*/ /sys/fs/cgroup; do mount -o remount,rw,bind $folder; done; exec /sbin/init'",
            label = label::NAMESPACE,
        );
        machine.here(&start).await.succeeded();
        let address = "docker inspect --format '{{.NetworkSettings.IPAddress}}' $NAME";
        machine.address = machine.here(address).await.succeeded().trim().to_owned();
        wait_until("systemd has started", PATIENCE, async || {
            let state = machine.there("systemctl is-system-running").await;
            state.output.trim() == "running"
        })
        .await;
        machine
    }

    /// Runs a script beside the machine, as a developer would.
    async fn here(&self, script: &str) -> Ran {
        ran(Command::new("bash")
            .args(["-euo", "pipefail", "-c", script])
            .current_dir(self.folder.path())
            .env("NAME", self.folder.name())
            .env("GIT_SSH_COMMAND", self.ssh()))
        .await
    }

    /// Runs a script on the machine, as its operator would.
    async fn there(&self, script: &str) -> Ran {
        ran(Command::new("docker")
            .args(["exec", "-w", "/root", self.folder.name()])
            .args(["bash", "-euo", "pipefail", "-c", script]))
        .await
    }

    /// Puts a file or a folder onto the machine.
    async fn put(&self, from: &Path, to: &str) {
        let script = format!("docker cp -L '{}' $NAME:{to}", from.display());
        self.here(&script).await.succeeded();
    }

    fn ssh(&self) -> String {
        ssh_command(&self.folder.file("key"), &self.folder.file("known_hosts"))
    }

    /// What a function that is there says.
    async fn call(&self, path: &str, body: &str) -> String {
        let script = format!(
            "curl -sS --fail-with-body -d {body} http://{}{path}",
            self.address
        );
        self.here(&script).await.output
    }

    /// What asks for functions.
    fn client(&self) -> Client {
        Client::new(format!("{}:80", self.address).parse().unwrap())
    }

    /// The containers of functions.
    async fn instances(&self) -> String {
        let script = format!("docker ps -q --no-trunc --filter label={}", label::FUNCTION);
        self.there(&script).await.succeeded().to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let script = "docker rm -f -v $NAME; docker rmi -f $NAME/bare";
        let mut command = std::process::Command::new("sh");
        let command = command.args(["-c", script]);
        self.folder.tidy(command.env("NAME", self.folder.name()));
    }
}

/// The commands in a section of a page, each block by itself.
fn blocks(page: &str, section: &str) -> Vec<String> {
    let text = std::fs::read_to_string(workspace().join(page)).unwrap();
    let found = text.split("\n## ").find(|part| part.starts_with(section));
    let found = found.unwrap_or_else(|| panic!("no section {section}"));
    let blocks = found.split("```sh\n").skip(1);
    blocks
        .filter_map(|block| Some(block.split("```").next()?.to_owned()))
        .collect()
}

/// The packages, those of debug symbols left out, from `target/deb`.
fn packages() -> Vec<PathBuf> {
    let folder = target().join("deb");
    let found = std::fs::read_dir(&folder).unwrap_or_else(|cause| {
        panic!("{}: {cause}: run make deb first", folder.display());
    });
    let paths = found.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.extension() == Some("deb".as_ref()))
        .collect()
}

#[tokio::test]
async fn packages_from_nothing_and_back() {
    let machine = Machine::start().await;
    let nginx_before = machine.there(NGINX_FILES).await.succeeded().to_owned();
    machine
        .here("ssh-keygen -q -t ed25519 -N '' -C test -f key")
        .await
        .succeeded();
    machine
        .there(&format!("mkdir -p {PACKAGES} .ssh"))
        .await
        .succeeded();
    machine
        .put(&machine.folder.file("key.pub"), "/root/.ssh/id_ed25519.pub")
        .await;
    for path in packages() {
        machine.put(&path, &format!("/root/{PACKAGES}/")).await;
    }

    // The README's words. What a registry would give is brought as soon as there is an engine.
    let words = blocks("README.md", "Install").concat();
    let (install, others) = words.split_once('\n').unwrap();
    let begin = Instant::now();
    machine
        .there(&format!(
            "apt-get -q update && DEBIAN_FRONTEND=noninteractive {install} -q -y"
        ))
        .await
        .succeeded();
    let installed = begin.elapsed();
    machine
        .here(&format!(
            "docker save {BASE} | docker exec -i $NAME docker load"
        ))
        .await
        .succeeded();
    if let Ok(bundle) = std::env::var("SSL_CERT_FILE") {
        machine.put(Path::new(&bundle), "/etc/corefn/ca.pem").await;
        let settings = "sed -i 's|^#ca_bundle.*|ca_bundle = \"/etc/corefn/ca.pem\"|' /etc/corefn/host.toml && \
                        systemctl restart 'corefn-*'";
        machine.there(settings).await.succeeded();
    }
    let said = machine.there(others).await;
    println!("{}{}", said.output, said.errors);
    said.succeeded();
    let push = format!(
        "mkdir shout && cp -r '{0}'/examples/python/. shout && cd shout && git init -q -b main . && git add . && \
         git -c user.name=A -c user.email=a@example.com commit -q -m Shout && \
         git push ssh://git@{1}:7022/me/shout HEAD:main",
        workspace().display(),
        machine.address
    );
    let pushed = machine.here(&push).await;
    println!("{}", pushed.errors);
    pushed.succeeded();
    assert_eq!(
        machine.call("/me/shout/HelloWorld", "x").await,
        "Hello world!"
    );
    let took = begin.elapsed();
    println!("packages installed after {installed:.0?}, a function answered after {took:.0?}");
    assert!(took <= MOST, "{took:?}");

    works_as_it_should(&machine).await;
    upgraded_under_traffic(&machine).await;
    removed_and_installed_again(&machine, install).await;
    let kept = blocks("docs/packages.md", "Backup and restore");
    let [backup, restore] = &kept[..] else {
        panic!("not two blocks: {kept:?}");
    };
    machine.there(backup).await.succeeded();
    purged(&machine, &nginx_before).await;
    restored(&machine, install, restore).await;
}

/// Each service runs as its account, and what was set by root is had by those who need it.
async fn works_as_it_should(machine: &Machine) {
    let failed = machine
        .there("systemctl --failed --plain --no-legend")
        .await;
    assert_eq!(failed.succeeded(), "");
    for (service, account) in [
        ("build", "corefn"),
        ("clean", "corefn"),
        ("dispatch", "corefn"),
        ("gate", "corefn-gate"),
        ("git", "root"),
        ("keep", "corefn"),
    ] {
        let script = format!("stat -c %U /proc/$(systemctl show -P MainPID corefn-{service})");
        let user = machine.there(&script).await;
        assert_eq!(user.succeeded().trim(), account, "{service}");
    }
    let enabled = machine
        .there("systemctl is-enabled corefn-firewall && corefn firewall check")
        .await;
    enabled.succeeded();
    for account in ["www-data", "git", "corefn"] {
        let script = format!(
            "setpriv --reuid {account} --regid {account} --init-groups test -w /var/run/docker.sock"
        );
        assert_ne!(machine.there(&script).await.code, 0, "{account} has Docker");
    }
    // (The values are sealed by root, and opened by nginx's workers and by the builder.)
    let secret = format!(
        "printf hidden | corefn secret set me/shout TOKEN && corefn secret rotate && \
         docker rm -f $(docker ps -q --filter label={}=me/shout)",
        label::FUNCTION
    );
    machine.there(&secret).await.succeeded();
    assert_eq!(
        machine.call("/me/shout/HelloWorld", "x").await,
        "Hello world!"
    );
    let client = machine.client();
    let answer = client
        .post("/me/shout/HelloWorld", "")
        .header("Prefer", "respond-async")
        .await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let told = answer.header("Location").unwrap().to_owned();
    wait_until("it has been called", PATIENCE, async || {
        let going = client.get(&told).await;
        going.status == 200 && going.json()["state"] == "done"
    })
    .await;
    for (shell, file) in [
        ("bash", "bash-completion/completions/corefn"),
        ("zsh", "zsh/vendor-completions/_corefn"),
        ("fish", "fish/vendor_completions.d/corefn.fish"),
    ] {
        let same = format!("corefn completion {shell} | cmp - /usr/share/{file}");
        machine.there(&same).await.succeeded();
    }
}

/// A newer version takes the place of the one that is there: no request fails, instances go on, and what was changed stays.
async fn upgraded_under_traffic(machine: &Machine) {
    machine.there("echo '# mine' >> /etc/nginx/corefn/http.conf && echo '# mine' >> /etc/corefn/host.toml").await.succeeded();
    machine.here("mkdir newer").await.succeeded();
    for path in packages() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let script = format!(
            "dpkg-deb -R '{}' tree && sed -i 's/^Version: .*/&+newer/' tree/DEBIAN/control && \
             dpkg-deb --root-owner-group -b tree newer/{name} && rm -r tree",
            path.display()
        );
        machine.here(&script).await.succeeded();
    }
    machine.put(&machine.folder.file("newer"), "/root/").await;
    let before = machine.instances().await;
    let load = Load::start(machine.client(), "/me/shout/HelloWorld", 2);
    load.turn_over().await;
    let upgrade = "DEBIAN_FRONTEND=noninteractive apt-get install -q -y ./newer/*.deb && nginx -t && grep -q mine /etc/corefn/host.toml && \
                   grep -q mine /etc/nginx/corefn/http.conf && dpkg -s corefn libnginx-mod-http-corefn | grep -c '+newer'";
    let upgraded = machine.there(upgrade).await;
    assert!(upgraded.succeeded().ends_with("2\n"), "{upgraded:?}");
    let loaded =
        "for pid in $(pgrep -f 'nginx: worker'); do grep -h ngx_http_corefn /proc/$pid/maps; done";
    wait_until("the workers have the new module", PATIENCE, async || {
        let maps = machine.there(loaded).await.output;
        !maps.is_empty() && !maps.contains("(deleted)")
    })
    .await;
    load.turn_over().await;
    let report = load.finish().await;
    println!(
        "{} requests were answered while all was upgraded",
        report.answered
    );
    report.assert_all_answered();
    assert_eq!(machine.instances().await, before, "functions go on");
}

/// Without its lines nginx is what it was. What is deployed is there for the next installation.
async fn removed_and_installed_again(machine: &Machine, install: &str) {
    let removed = machine.there(REMOVE).await;
    removed.succeeded();
    // (apt has one terminal for both.)
    let said = &removed.output;
    assert!(
        said.contains("warning: nginx will not start again")
            && said.contains("sites-enabled/default"),
        "{removed:?}"
    );
    assert_ne!(
        machine.there("nginx -t").await.code,
        0,
        "the line is there still"
    );
    machine
        .there(&format!(
            "sed -i 's|{LINE}|{STOCK}|' {SITE} && nginx -t && systemctl restart nginx"
        ))
        .await
        .succeeded();
    let page = machine.client().get("/").await;
    assert!(
        page.status == 200 && page.text().contains("nginx"),
        "{page:?}"
    );
    assert_eq!(machine.there("docker ps -aq").await.succeeded(), "");
    assert_ne!(machine.there("corefn --version").await.code, 0);
    machine.there(&format!("DEBIAN_FRONTEND=noninteractive {install} -q -y --allow-downgrades && sed -i 's|{STOCK}|{LINE}|' {SITE} && nginx -t && nginx -s reload")).await.succeeded();
    wait_until("what was deployed answers", PATIENCE, async || {
        machine.call("/me/shout/HelloWorld", "x").await == "Hello world!"
    })
    .await;
}

/// A purge leaves nothing.
async fn purged(machine: &Machine, nginx_before: &str) {
    machine
        .there(&format!(
            "sed -i 's|{LINE}|{STOCK}|' {SITE} && nginx -s reload"
        ))
        .await
        .succeeded();
    let purge =
        "DEBIAN_FRONTEND=noninteractive apt-get purge -q -y corefn libnginx-mod-http-corefn";
    let purged = machine.there(purge).await;
    println!("{}{}", purged.output, purged.errors);
    purged.succeeded();
    assert_eq!(machine.there(NGINX_FILES).await.succeeded(), nginx_before);
    machine
        .there("nginx -t && systemctl restart nginx")
        .await
        .succeeded();
    let left = machine.there(LEFT).await;
    assert_eq!(left.succeeded(), "");
}

/// After a purge, what was kept elsewhere is there again: the function, its secret, its repository and who may push.
async fn restored(machine: &Machine, install: &str, restore: &str) {
    let script = format!(
        "DEBIAN_FRONTEND=noninteractive {install} -q -y && sed -i 's|{STOCK}|{LINE}|' {SITE}"
    );
    machine.there(&script).await.succeeded();
    assert_eq!(
        machine.there("corefn ls --json").await.succeeded().trim(),
        "[]"
    );
    let restored = machine.there(restore).await;
    println!("{}{}", restored.output, restored.errors);
    restored.succeeded();
    wait_until("the function answers", PATIENCE, async || {
        machine.call("/me/shout/HelloWorld", "x").await == "Hello world!"
    })
    .await;
    let secrets = machine.there("corefn secret list me/shout").await;
    assert!(secrets.succeeded().contains("TOKEN"), "{secrets:?}");
    // (The host's key is what it was, so whoever pushed before may again.)
    let push = format!(
        "cd shout && git -c user.name=A -c user.email=a@example.com commit -q --allow-empty -m Again && \
         git push ssh://git@{}:7022/me/shout HEAD:main",
        machine.address
    );
    let pushed = machine.here(&push).await;
    println!("{}", pushed.errors);
    pushed.succeeded();
    let doctor = machine.there("corefn doctor").await;
    assert_eq!(doctor.code, 0, "{doctor:?}");
}

/// Debian's site, what it does with files, and what is written in place of that.
const SITE: &str = "/etc/nginx/sites-available/default";
const STOCK: &str = "try_files $uri $uri/ =404;";
const LINE: &str = "include corefn/functions.conf;";

const REMOVE: &str =
    "DEBIAN_FRONTEND=noninteractive apt-get remove -q -y corefn libnginx-mod-http-corefn";

/// The configuration of nginx, and its modules.
const NGINX_FILES: &str = "find /etc/nginx /usr/share/nginx -type f -exec sha256sum {} + -o -type l -printf '%p %l\n' | sort -k 2";

/// Whatever is CoreFn's.
const LEFT: &str = "find / -xdev \\( -path /proc -o -path /sys -o -path /root -o -path /tmp -o -path /var/log/apt \\) -prune -o -iname '*corefn*' -print; \
    getent passwd git corefn corefn-gate || true; \
    getent group git corefn corefn-gate || true; \
    docker ps -aq; docker volume ls -q; \
    docker images --format '{{.Repository}}' | grep corefn || true; \
    docker network ls --format '{{.Name}}' | grep corefn || true; \
    redis-cli --scan --pattern 'corefn:*'; \
    nft list tables | grep corefn || true; \
    systemctl list-units --all --plain --no-legend 'corefn*'";

//! Debian's packages, on a machine that has nothing but nginx: installed by the README's words, upgraded under traffic, removed.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use corefn_core::names::label;
use corefn_tests::load::Load;
use corefn_tests::machine::Machine;
use corefn_tests::papers::blocks;
use corefn_tests::programs::{target, workspace};
use corefn_tests::wait_until;

/// Where the packages are, as the README has it.
const PACKAGES: &str = "target/deb";

/// From the first word of the README to an answer, compiling excluded.
const MOST: Duration = Duration::from_secs(180);

const PATIENCE: Duration = Duration::from_secs(60);

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
    let machine = Machine::start("packages").await;
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
    machine.bring_base_image().await;
    machine.trust_as_this_machine().await;
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
    firewall_and_invocations(&machine).await;
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

/// What the page of the settings says of them.
async fn firewall_and_invocations(machine: &Machine) {
    let [load] = &blocks("docs/host.md", "What functions and builds reach")[..] else {
        panic!("not one block");
    };
    let script = format!("corefn firewall remove && {load}\ncorefn firewall check");
    machine.there(&script).await.succeeded();
    let commands = blocks("docs/host.md", "Invocations").concat();
    let at = format!("{}/me/shout/HelloWorld", machine.address);
    let commands = commands.replace("localhost:8080/alice/report", &at);
    let (ask, tell) = commands.split_once('\n').unwrap();
    let asked = machine.here(ask).await;
    let asked = asked.succeeded();
    let id = asked.split("/.corefn/invocations/").nth(1);
    let id = id
        .unwrap_or_else(|| panic!("{asked}"))
        .split_whitespace()
        .next()
        .unwrap();
    // (It is told of below the function, and not below its export.)
    let tell = tell.replace("3f0c…", id).replace("/HelloWorld/", "/");
    let told = machine.here(&tell).await;
    assert!(told.succeeded().contains("\"state\""), "{told:?}");
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
    let removed = machine.there(&removal(0)).await;
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
    let purged = machine.there(&removal(1)).await;
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

/// One of the commands by which packages are removed.
fn removal(at: usize) -> String {
    let commands = blocks("docs/packages.md", "Removal").concat();
    let command = commands
        .lines()
        .nth(at)
        .unwrap()
        .replace("apt-get ", "apt-get -q -y ");
    format!("DEBIAN_FRONTEND=noninteractive {command}")
}

/// Debian's site, what it does with files, and what is written in place of that.
const SITE: &str = "/etc/nginx/sites-available/default";
const STOCK: &str = "try_files $uri $uri/ =404;";
const LINE: &str = "include corefn/functions.conf;";

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

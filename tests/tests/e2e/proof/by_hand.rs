//! Without packages, by the words of the papers: the git host and its services, nginx, who may what, and Redis' user.

use std::time::Duration;

use corefn_tests::machine::Machine;
use corefn_tests::papers::blocks;
use corefn_tests::programs::{target, workspace};
use corefn_tests::wait_until;

const PATIENCE: Duration = Duration::from_secs(60);

/// What packages would bring along.
const NEEDED: &str = "apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
                      ca-certificates curl docker.io git iptables nftables openssh-client openssh-server redis-server";

/// What a release has of the workspace.
const FOLDERS: [&str; 4] = ["host", "stacks", "git-host", "nginx-conf"];

/// The only block of a section.
fn only(blocks: Vec<String>) -> String {
    let [block] = &blocks[..] else {
        panic!("not one block: {blocks:?}");
    };
    block.clone()
}

#[tokio::test]
async fn installed_by_hand() {
    let machine = Machine::start("byhand").await;
    machine.there(NEEDED).await.succeeded();
    machine
        .there("mkdir -p corefn/target .ssh")
        .await
        .succeeded();
    for folder in FOLDERS {
        machine
            .put(&workspace().join(folder), "/root/corefn/")
            .await;
    }
    let services = only(blocks("git-host/README.md", "The git host"));
    let (strip_services, services) = services.split_once('\n').unwrap();
    let nginx = only(blocks("nginx-conf/README.md", "Configuration for nginx"));
    let (build, nginx) = nginx.split_once('\n').unwrap();
    let (strip_module, nginx) = nginx.split_once('\n').unwrap();
    // (What tests run with is built already.)
    assert_eq!(build, "make build");
    let strip = format!(
        "cd '{}'\n{strip_services}\n{strip_module}",
        workspace().display()
    );
    machine.here(&strip).await.succeeded();
    machine
        .put(&target().join("stripped"), "/root/corefn/target/")
        .await;
    machine
        .here("ssh-keygen -q -t ed25519 -N '' -C test -f key")
        .await
        .succeeded();
    let key = machine.folder.file("key.pub");
    machine.put(&key, "/root/alice.pub").await;
    machine.bring_base_image().await;

    machine
        .there(&format!("cd corefn\n{services}"))
        .await
        .succeeded();
    machine.trust_as_this_machine().await;
    let site = "sed -i 's|try_files $uri $uri/ =404;|include corefn/functions.conf;|' /etc/nginx/sites-available/default";
    machine
        .there(&format!("cd corefn\n{site}\n{nginx}"))
        .await
        .succeeded();
    who_may_what(&machine).await;
    redis_user(&machine).await;
}

/// Alice pushes with her key, and takes another.
async fn who_may_what(machine: &Machine) {
    let all = blocks("git-host/README.md", "Who may what");
    let [operator, alice] = &all[..] else {
        panic!("not two blocks: {all:?}");
    };
    machine
        .there(
            "ssh-keygen -q -t ed25519 -N '' -C laptop -f laptop && corefn key add alice laptop.pub",
        )
        .await
        .succeeded();
    let said = machine.there(operator).await;
    println!("{}{}", said.output, said.errors);
    let said = said.succeeded();
    assert!(said.contains("removed alice's key laptop"), "{said}");
    assert!(
        said.ends_with("ON  ACCOUNT  ROLE\n"),
        "nobody is let in: {said}"
    );
    let begin = format!(
        "mkdir hello && cp -r '{}'/examples/python/. hello && cd hello && git init -q -b main . && git add . && \
         git -c user.name=A -c user.email=a@example.com commit -q -m Hello && \
         ssh-keygen -q -t ed25519 -N '' -C other -f laptop\n",
        workspace().display()
    );
    let commands = alice
        .replace("ssh://git@host", &format!("ssh://git@{}", machine.address))
        .replace("git@host", &format!("git@{}", machine.address));
    let as_alice = "ssh() { eval \"command $GIT_SSH_COMMAND \\\"\\$@\\\"\"; }\n";
    let said = machine.here(&format!("{begin}{as_alice}{commands}")).await;
    println!("{}{}", said.output, said.errors);
    assert!(said.succeeded().contains("alice/hello"), "{said:?}");
    wait_until("the function answers", PATIENCE, async || {
        machine.call("/alice/hello/HelloWorld", "x").await == "Hello world!"
    })
    .await;
    let doctor = machine.there("corefn doctor").await;
    assert_eq!(doctor.code, 0, "{doctor:?}");
}

/// Redis has a user for CoreFn, and everybody goes by it.
async fn redis_user(machine: &Machine) {
    let add = only(blocks("docs/host.md", "Redis"));
    let script = format!(
        "echo a-password > password
         echo 'aclfile /etc/redis/users.acl' >> /etc/redis/redis.conf
         install -o redis -g redis -m 640 /dev/null /etc/redis/users.acl
         systemctl restart redis-server
         {add}
         redis-cli ACL LOAD
         sed -i 's|redis://127|redis://corefn:a-password@127|' /etc/corefn/host.toml /etc/nginx/corefn/http.conf
         grep -c 'corefn:a-password@' /etc/corefn/host.toml /etc/nginx/corefn/http.conf
         systemctl restart 'corefn-*'
         nginx -t && nginx -s reload"
    );
    let said = machine.there(&script).await;
    println!("{}{}", said.output, said.errors);
    said.succeeded();
    wait_until("the function answers", PATIENCE, async || {
        machine.call("/alice/hello/HelloWorld", "x").await == "Hello world!"
    })
    .await;
    let clients = "redis-cli client list | grep -c user=corefn; corefn doctor";
    let said = machine.there(clients).await;
    assert_eq!(said.code, 0, "{said:?}");
}

//! Functions and builds reach what lies beyond the host, and not the host itself.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};

use corefn_core::config::{FunctionConfig, Network};
use corefn_core::names::{self, HOST_FILE};
use corefn_tests::cli::{command, corefn};
use corefn_tests::neighbour::Neighbour;
use corefn_tests::push::Repository;
use corefn_tests::{Home, probe};

use crate::push_limits::script_stack;

/// A firewall that is loaded, and removed when this is dropped.
struct Firewall<'a>(&'a Home);

impl<'a> Firewall<'a> {
    /// Loads it as the settings want it.
    async fn load(home: &'a Home) -> Self {
        let firewall = Self(home);
        let loaded = corefn(home, &["firewall", "load"]).await;
        let table = names::firewall(home.namespace());
        assert_eq!(loaded.succeeded(), format!("loaded: table inet {table}\n"));
        firewall
    }
}

impl Drop for Firewall<'_> {
    fn drop(&mut self) {
        let mut remove = command();
        let home = self.0.folder.path();
        let remove = remove.arg("--home").arg(home).args(["firewall", "remove"]);
        if !remove
            .as_std_mut()
            .status()
            .is_ok_and(|status| status.success())
        {
            eprintln!("the firewall of {} is left", self.0.namespace());
        }
    }
}

/// What a function can try to reach.
struct World {
    /// Something on the host that listens on all of its addresses.
    service: TcpListener,
    /// A machine beyond the host.
    beyond: Neighbour,
}

impl World {
    fn create() -> Self {
        Self {
            service: TcpListener::bind("0.0.0.0:0").unwrap(),
            beyond: Neighbour::create(),
        }
    }

    /// Where the host's service is at one of the host's addresses.
    fn service(&self, address: Ipv4Addr) -> SocketAddrV4 {
        SocketAddrV4::new(address, self.service.local_addr().unwrap().port())
    }
}

/// The address of the host in a network of functions.
async fn gateway(home: &Home, network: Network) -> Ipv4Addr {
    let subnet = home.docker.network(network).await.unwrap().subnet;
    // (Docker takes the first one, before the first of a container.)
    Ipv4Addr::from(u32::from(subnet.address(0)) - 1)
}

/// Whether a function can connect.
async fn reaches(home: &Home, function: &str, address: SocketAddrV4) -> bool {
    let target = format!("/{function}/reach/{}/{}", address.ip(), address.port());
    home.get(&target).await.json() == "reached"
}

#[tokio::test]
async fn functions_are_kept_from_the_host() {
    let home = Home::start("walled").await;
    let world = World::create();
    home.deploy("demo/out", probe::idle(600)).await;
    let inside = FunctionConfig {
        network: Network::None,
        ..probe::idle(600)
    };
    home.deploy("demo/inside", inside).await;
    assert_eq!(home.get("/demo/out/status/204").await.status, 204);
    assert_eq!(home.get("/demo/inside/status/204").await.status, 204);
    let near = world.service(gateway(&home, Network::Outbound).await);
    let inner = world.service(gateway(&home, Network::None).await);
    let far = world.service(world.beyond.gateway());
    let (beyond, metadata) = (world.beyond.global(), world.beyond.local());

    // Docker lets them reach all of it.
    for address in [near, far, inner, beyond, metadata] {
        assert!(reaches(&home, "demo/out", address).await, "{address}");
    }
    assert!(reaches(&home, "demo/inside", inner).await, "{inner}");
    assert!(!reaches(&home, "demo/inside", beyond).await, "{beyond}");
    corefn(&home, &["firewall", "check"])
        .await
        .failed(1, &["not loaded", "run corefn firewall load"]);

    let _firewall = Firewall::load(&home).await;
    for address in [near, far, inner, metadata] {
        assert!(!reaches(&home, "demo/out", address).await, "{address}");
    }
    assert!(reaches(&home, "demo/out", beyond).await, "{beyond}");
    for address in [near, inner, far, beyond] {
        assert!(!reaches(&home, "demo/inside", address).await, "{address}");
    }
    // It keeps nobody from functions, and none from starting.
    home.deploy("demo/new", probe::idle(600)).await;
    assert_eq!(home.get("/demo/new/status/204").await.status, 204);
    let checked = corefn(&home, &["firewall", "check"]).await;
    assert!(checked.succeeded().starts_with("loaded: "), "{checked:?}");

    // What the settings say goes before.
    let settings = home.folder.read(HOST_FILE);
    let own = format!(
        "{settings}[firewall]\nallow = ['{far}', '{}/32']\ndeny = ['{}/30']\n",
        metadata.ip(),
        Ipv4Addr::from(u32::from(*beyond.ip()) - 2)
    );
    home.folder.write(HOST_FILE, own);
    corefn(&home, &["firewall", "check"])
        .await
        .failed(1, &["not loaded as the settings want it"]);
    let _changed = Firewall::load(&home).await;
    for address in [far, metadata] {
        assert!(reaches(&home, "demo/out", address).await, "{address}");
    }
    for address in [near, beyond] {
        assert!(!reaches(&home, "demo/out", address).await, "{address}");
    }
    assert!(!reaches(&home, "demo/inside", far).await, "{far}");

    corefn(&home, &["firewall", "remove"]).await.succeeded();
    assert!(reaches(&home, "demo/out", near).await, "{near}");
    // Once more is no error.
    corefn(&home, &["firewall", "remove"]).await.succeeded();
}

/// A shell's command that tries to connect, and says how that went.
fn tries(address: SocketAddrV4) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!(
        "if timeout 2 bash -c '</dev/tcp/{ip}/{port}' 2>/dev/null; then echo {ip} reached; else echo {ip} shut; fi"
    )
}

#[tokio::test]
async fn builds_are_kept_from_the_host() {
    let home = Home::start("walls").await;
    let world = World::create();
    home.deploy("demo/running", probe::idle(600)).await;
    assert_eq!(home.get("/demo/running/status/204").await.status, 204);
    let instance: SocketAddrV4 = home.accesses(1).await[0].upstream.parse().unwrap();
    let service = world.service(world.beyond.gateway());
    let (beyond, metadata) = (world.beyond.global(), world.beyond.local());
    let commands = [service, beyond, metadata, instance].map(tries).join("\n");

    script_stack(&home);
    let script = Repository::create(&home, "demo/script").await;
    script.write("build.sh", &format!("{commands}\nexit 3\n"));
    script.commit("A script").await;
    let docker = Repository::create(&home, "demo/docker").await;
    docker.write("try.sh", &format!("{commands}\n"));
    docker.write(
        "Dockerfile",
        "FROM debian:bookworm-slim\nCOPY try.sh /\nRUN sh /try.sh; exit 3\n",
    );
    docker.commit("A Dockerfile").await;
    let reached = |address: SocketAddrV4| format!("{} reached", address.ip());
    let shut = |address: SocketAddrV4| format!("{} shut", address.ip());
    // Without a firewall they reach the host. (Docker keeps networks apart, though not while it makes one for others.)
    for repository in [&script, &docker] {
        let open = [reached(service), reached(beyond), reached(metadata)];
        repository
            .push()
            .await
            .rejected(&open.each_ref().map(String::as_str));
    }
    let _firewall = Firewall::load(&home).await;
    for repository in [&script, &docker] {
        let walled = [
            shut(service),
            reached(beyond),
            shut(metadata),
            shut(instance),
        ];
        repository
            .push()
            .await
            .rejected(&walled.each_ref().map(String::as_str));
    }
}

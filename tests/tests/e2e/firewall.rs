//! Functions and builds reach what lies beyond the host, and not the host itself.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::time::Duration;

use corefn_core::config::FunctionConfig;
use corefn_core::names::{self, HOST_FILE};
use corefn_core::network::Network;
use corefn_tests::cli::{command, corefn};
use corefn_tests::gate::Gate;
use corefn_tests::keeper::Keeper;
use corefn_tests::neighbour::Neighbour;
use corefn_tests::push::Repository;
use corefn_tests::{Home, probe, wait_until};

use crate::push_limits::script_stack;
use crate::sandbox_starts::{kept, started_from, with_default_limits};

const PATIENCE: Duration = Duration::from_secs(60);

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
    /// The same of datagrams.
    ears: UdpSocket,
    /// A machine beyond the host.
    beyond: Neighbour,
}

impl World {
    fn create() -> Self {
        Self {
            service: TcpListener::bind("0.0.0.0:0").unwrap(),
            ears: UdpSocket::bind("0.0.0.0:0").unwrap(),
            beyond: Neighbour::create(),
        }
    }

    /// Where the host's service is at one of the host's addresses.
    fn service(&self, address: Ipv4Addr) -> SocketAddrV4 {
        SocketAddrV4::new(address, self.service.local_addr().unwrap().port())
    }
}

/// Has a function send datagrams to all that are near.
async fn shout(home: &Home, world: &World) {
    let port = world.ears.local_addr().unwrap().port();
    let sent = home.get(&format!("/demo/out/shout/{port}")).await;
    assert_eq!(sent.json(), 3);
}

/// Whether the host hears any of them.
async fn is_heard(home: &Home, world: &World) -> bool {
    shout(home, world).await;
    let patience = Some(Duration::from_millis(500));
    world.ears.set_read_timeout(patience).unwrap();
    let mut is_heard = false;
    while world.ears.recv(&mut [0; 8]).is_ok() {
        is_heard = true;
    }
    is_heard
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

    assert!(is_heard(&home, &world).await);

    let _firewall = Firewall::load(&home).await;
    for address in [near, far, inner, metadata] {
        assert!(!reaches(&home, "demo/out", address).await, "{address}");
    }
    // Nor by broadcast; and there is no IPv6 but what is its own.
    assert!(!is_heard(&home, &world).await);
    home.deploy("demo/ears", probe::idle(600)).await;
    assert_eq!(home.get("/demo/ears/status/204").await.status, 204);
    let port = world.ears.local_addr().unwrap().port();
    let ears = tokio::spawn(home.get(&format!("/demo/ears/hears/{port}/60000")).send());
    let instance = home.store.instances().await.unwrap().into_iter();
    let mut instance = instance.filter(|it| it.instance.function.as_str() == "demo/ears");
    let ip = instance.next().unwrap().instance.address.port().unwrap();
    while !ears.is_finished() {
        shout(&home, &world).await;
        // (What the host sends comes, whoever has shouted before.)
        world.ears.send_to(b"host", (ip.ip(), port)).unwrap();
    }
    let heard = ears.await.unwrap().unwrap().json();
    assert_eq!(heard, *near.ip().to_string());
    let ipv6 = home.get("/demo/out/whoami").await.json()["ipv6"].clone();
    let own = ipv6
        .as_str()
        .unwrap()
        .lines()
        .all(|line| line.ends_with(" lo"));
    assert!(own, "{ipv6}");
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

/// A network of the settings is what they say of it, for functions from images and from sandboxes.
#[tokio::test]
async fn functions_reach_what_their_network_allows() {
    let builder = Home::builder("listed").without_nginx().gated();
    let mut home = builder.start().await;
    let world = World::create();
    let far = world.service(world.beyond.gateway());
    let (beyond, metadata) = (world.beyond.global(), world.beyond.local());
    home.take_gate().kill().await;
    let settings = home.folder.read(HOST_FILE);
    let own = format!("{settings}[networks.listed]\nallow = ['{beyond}']\n[networks.shut]\n");
    home.folder.write(HOST_FILE, own);
    let _gate = Gate::start(&home.folder).await;
    let _keeper = Keeper::start_with_nginx(&mut home, "floor = 1").await;
    let on = |name: &str, config| FunctionConfig {
        network: name.parse().unwrap(),
        ..config
    };
    let sandboxed = with_default_limits();
    let digest = sandboxed.executable.clone().unwrap();
    home.deploy("demo/image", on("listed", probe::idle(600)))
        .await;
    home.deploy("demo/shut", on("shut", probe::idle(600))).await;
    home.deploy("demo/sandboxed", on("listed", sandboxed)).await;
    // (The first starts by Docker, and has the keeper fetch its executable.)
    wait_until("it starts from a sandbox", PATIENCE, async || {
        for instance in home.instances("demo/sandboxed").await {
            home.docker.remove(&instance.id).await.unwrap();
        }
        let answer = home.get("/demo/sandboxed/status/204").await;
        answer.status == 204
            && kept(&home, &digest).exists()
            && started_from(&home, "a sandbox") > 0
    })
    .await;
    let functions = ["demo/image", "demo/sandboxed"];
    for function in functions {
        // Without a firewall nobody beyond the host could answer.
        assert!(!reaches(&home, function, beyond).await, "{function}");
    }
    {
        let _firewall = Firewall::load(&home).await;
        for function in functions {
            assert!(reaches(&home, function, beyond).await, "{function}");
            let network = home
                .docker
                .network("listed".parse().unwrap())
                .await
                .unwrap();
            let gateway = Ipv4Addr::from(u32::from(network.subnet.address(0)) - 1);
            let others = [far, metadata, world.service(gateway)];
            let port = SocketAddrV4::new(*beyond.ip(), beyond.port() ^ 1);
            for address in others.into_iter().chain([port]) {
                assert!(
                    !reaches(&home, function, address).await,
                    "{function} {address}"
                );
            }
        }
        assert!(!reaches(&home, "demo/shut", beyond).await);
    }
    // What the settings have no more, reaches nothing.
    home.folder.write(HOST_FILE, settings);
    let _firewall = Firewall::load(&home).await;
    for function in functions {
        for address in [far, beyond] {
            assert!(
                !reaches(&home, function, address).await,
                "{function} {address}"
            );
        }
        assert_eq!(
            home.get(&format!("/{function}/status/204")).await.status,
            204
        );
    }
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

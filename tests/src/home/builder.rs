//! What a test wants of its installation.

use super::Home;
use crate::nginx::Conf;

/// The variable with which routers reach Docker through the gate, but for those that a test has another way for.
const GATED: &str = "GATED";

/// What the router gets for Docker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Access {
    /// Docker's own socket.
    Direct,
    /// A socket that counts, [`crate::proxy::Proxy`].
    Proxied,
    /// The gate's, [`crate::gate::Gate`].
    Gated,
}

/// An installation that is to be started.
#[derive(Debug, Clone)]
pub struct Builder {
    pub(super) name: String,
    pub(super) conf: Conf,
    pub(super) access: Access,
    pub(super) nginx: bool,
    pub(super) alerts: bool,
    pub(super) engine: bool,
    pub(super) invocations: bool,
}

impl Builder {
    /// With four workers, Redis and nginx running, no cleaner.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            conf: Conf {
                workers: 4,
                connections: 4096,
                module: true,
                faults: false,
                functions: true,
                cached: false,
                main: String::new(),
                http: String::new(),
                server: String::new(),
                location: String::new(),
                redis: String::new(),
                docker: String::new(),
                zone: "8m".to_owned(),
            },
            access: match std::env::var_os(GATED) {
                None => Access::Direct,
                Some(_) => Access::Gated,
            },
            nginx: true,
            alerts: false,
            engine: false,
            invocations: false,
        }
    }

    /// How many workers nginx has.
    #[must_use]
    pub fn workers(mut self, count: u32) -> Self {
        self.conf.workers = count;
        self
    }

    /// How many connections a worker may have, those to functions included.
    #[must_use]
    pub fn connections(mut self, count: u32) -> Self {
        self.conf.connections = count;
        self.main(&format!("worker_rlimit_nofile {};", count + 1000))
    }

    /// Lines outside of all blocks of nginx's configuration.
    #[must_use]
    pub fn main(mut self, lines: &str) -> Self {
        add(&mut self.conf.main, lines);
        self
    }

    /// Lines for the block `http`.
    #[must_use]
    pub fn http(mut self, lines: &str) -> Self {
        add(&mut self.conf.http, lines);
        self
    }

    /// Lines for the block `server`, such as further locations.
    #[must_use]
    pub fn server(mut self, lines: &str) -> Self {
        add(&mut self.conf.server, lines);
        self
    }

    /// Lines for `location /`, where functions are.
    #[must_use]
    pub fn location(mut self, lines: &str) -> Self {
        add(&mut self.conf.location, lines);
        self
    }

    /// `corefn_start_timeout`, in nginx's form.
    #[must_use]
    pub fn start_timeout(self, time: &str) -> Self {
        self.location(&format!("corefn_start_timeout {time};"))
    }

    /// `corefn_queue`.
    #[must_use]
    pub fn queue(self, length: u32) -> Self {
        self.location(&format!("corefn_queue {length};"))
    }

    /// `corefn_idle`, in nginx's form.
    #[must_use]
    pub fn idle(self, time: &str) -> Self {
        self.location(&format!("corefn_idle {time};"))
    }

    /// Clients need not wait, where a dispatcher runs.
    #[must_use]
    pub fn invocations(mut self) -> Self {
        self.invocations = true;
        self
    }

    /// The router reaches Docker through a socket that counts and can be shut.
    #[must_use]
    pub fn docker_proxy(mut self) -> Self {
        self.access = Access::Proxied;
        self
    }

    /// The router reaches Docker through the gate.
    #[must_use]
    pub fn gated(mut self) -> Self {
        self.access = Access::Gated;
        self
    }

    /// The router has all of Docker.
    #[must_use]
    pub fn without_gate(mut self) -> Self {
        self.access = Access::Direct;
        self
    }

    /// The router looks for Docker elsewhere.
    #[must_use]
    pub fn docker_at(mut self, url: &str) -> Self {
        self.access = Access::Direct;
        self.conf.docker = url.to_owned();
        self
    }

    /// Requests whose path ends in `/early` wait for an instance for so long; all others wait for
    /// as long as a start takes on a busy machine.
    #[must_use]
    pub fn early(self, time: &str) -> Self {
        self.server(&format!(
            "location ~ /early$ {{ corefn on; corefn_start_timeout {time}; \
             proxy_pass http://functions$corefn_uri; include corefn/proxy.conf; }}"
        ))
    }

    /// The size of `corefn_zone`, in nginx's form.
    #[must_use]
    pub fn zone(mut self, size: &str) -> Self {
        size.clone_into(&mut self.conf.zone);
        self
    }

    /// It has a Docker engine of its own, [`crate::engine::Engine`].
    #[must_use]
    pub fn own_engine(mut self) -> Self {
        self.engine = true;
        self
    }

    /// No location is for functions, though the module is loaded.
    #[must_use]
    pub fn without_functions(mut self) -> Self {
        self.conf.functions = false;
        self
    }

    /// The module isn't even loaded.
    #[must_use]
    pub fn without_module(mut self) -> Self {
        self.conf.module = false;
        self.without_functions()
    }

    /// The module is the one with faults to be injected, by [`Home::fault`]; nginx will log alerts.
    #[must_use]
    pub fn with_faults(mut self) -> Self {
        self.conf.faults = true;
        self.with_alerts()
    }

    /// nginx doesn't run until the test starts it.
    #[must_use]
    pub fn without_nginx(mut self) -> Self {
        self.nginx = false;
        self
    }

    /// Answers of functions may be kept in a cache, which [`Builder::http`] and [`Builder::location`] are to name.
    #[must_use]
    pub fn cached(mut self) -> Self {
        self.conf.cached = true;
        self
    }

    /// The test makes nginx log alerts. Without this they fail it.
    #[must_use]
    pub fn with_alerts(mut self) -> Self {
        self.alerts = true;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When that fails.
    pub async fn start(self) -> Home {
        Home::build(self).await
    }
}

fn add(lines: &mut String, more: &str) {
    lines.push_str(more);
    lines.push('\n');
}

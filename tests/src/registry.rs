//! A registry of images.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::folder::Folder;
use crate::port::Port;
use crate::process::Process;
use crate::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(20);

/// A registry on the loopback address, which Docker needs no certificate of.
#[derive(Debug)]
pub struct Registry {
    port: Port,
    _process: Process,
}

impl Registry {
    /// Starts one that has nothing.
    ///
    /// # Panics
    /// When that fails.
    pub async fn start(folder: &Folder) -> Self {
        let port = Port::reserve();
        let storage = folder.file("registry");
        let settings = format!(
            "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{}'}}\n",
            storage.display(),
            port.address()
        );
        let file = folder.write("registry.yml", settings);
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(file);
        let registry = Self {
            port,
            _process: Process::spawn(folder, "registry", &mut command),
        };
        wait_until("the registry listens", PATIENCE, async || {
            TcpStream::connect(registry.address()).await.is_ok()
        })
        .await;
        registry
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }
}

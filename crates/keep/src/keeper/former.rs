//! What a former keeper has left: sandboxes that wait are kept if they are as one would be made now, and those that were
//! given away are looked after.

use std::net::SocketAddrV4;
use std::rc::Rc;

use corefn_core::instance::InstanceId;
use corefn_core::names::{self, label};
use corefn_core::network::Network;
use corefn_engine::docker::Container;
use corefn_sandbox::claim::{Kind, Sandbox};
use tokio::task::spawn_local;

use super::{Inner, version};
use crate::given;
use crate::make::{MakeError, connected, connected_with_listener};

impl Inner {
    /// Takes over what a former keeper has left.
    pub(super) async fn take_over(self: &Rc<Self>) -> Result<(), MakeError> {
        let mut former = self.folder.former()?;
        for container in self.docker.containers().await? {
            if !container.has(label::ROLE, label::ROLE_SANDBOX) {
                continue;
            }
            // (One that has a name is an instance, and others look after it.)
            if container.labels.contains_key(label::FUNCTION) {
                continue;
            }
            let name = &container.name;
            let id = former
                .iter()
                .position(|id| *name == names::sandbox(self.docker.namespace(), *id));
            let found = match id {
                Some(at) => {
                    let kind = self.kind_of(&container).await;
                    let kind = kind.filter(|kind| self.is_good(&container, kind));
                    kind.map(|kind| (former.swap_remove(at), kind))
                }
                None => None,
            };
            match found {
                Some((id, kind)) => {
                    if let Some(waiting) = self.kinds.borrow_mut().get_mut(&kind) {
                        waiting.pool.expect();
                    }
                    let inner = self.clone();
                    spawn_local(async move { inner.adopt(id, kind, container).await });
                }
                // Its folder is gone, so it was given away.
                None if id.is_none() && container.running => {
                    let inner = self.clone();
                    spawn_local(async move {
                        given::until_settled(&inner.docker, &inner.store, &container.id).await;
                    });
                }
                None => self.end(&container.id).await,
            }
        }
        for id in former {
            self.folder.remove(id)?;
        }
        Ok(())
    }

    /// Whether a sandbox of a former keeper is as one would be made now.
    fn is_good(&self, container: &Container, kind: &Kind) -> bool {
        container.running
            && !container.paused
            && container.has(label::SANDBOX, &version(kind))
            && self.kinds.borrow().contains_key(kind)
    }

    /// Has a sandbox of a former keeper wait here.
    async fn adopt(self: Rc<Self>, id: InstanceId, kind: Kind, container: Container) {
        let adopted = async {
            let listener = self.folder.listen_for(id, self.is_runtime(&kind))?;
            // (A runtime that connects has been sent its socket before it was started.)
            match self.is_runtime(&kind) {
                true => connected(&listener).await,
                false => connected_with_listener(&self.folder, id, &listener).await,
            }
        };
        let address = container.labels.get(label::ADDRESS);
        let ip = address.and_then(|address| address.parse::<SocketAddrV4>().ok());
        let ip = ip.map(|address| *address.ip());
        match (adopted.await, ip) {
            (Ok(connection), ip) if ip.is_some() == kind.network.is_some() => {
                let sandbox = Sandbox {
                    instance: id,
                    container: container.id,
                    ip,
                    socket: Some(self.folder.serving(id)),
                };
                self.wait(&kind, sandbox, connection).await;
            }
            _ => {
                self.give_up(id, &container.id).await;
                if let Some(waiting) = self.kinds.borrow_mut().get_mut(&kind) {
                    waiting.pool.failed();
                }
            }
        }
        self.changed.notify_one();
    }

    /// The kind of a sandbox that another keeper has made.
    async fn kind_of(&self, container: &Container) -> Option<Kind> {
        let image = container.labels.get(label::RUNTIME);
        let image = image.unwrap_or(&self.image).clone();
        if !container.labels.contains_key(label::ADDRESS) {
            let network = None;
            return Some(Kind { image, network });
        }
        let on = self.docker.networks_of(&container.id).await.ok()?;
        let named = self.networks.iter().map(|name| Network::Named(*name));
        for network in [Network::Outbound, Network::None].into_iter().chain(named) {
            let known = self.docker.network(network).await.ok()?;
            if on.contains(&known.id) {
                let network = Some(network);
                return Some(Kind { image, network });
            }
        }
        None
    }
}

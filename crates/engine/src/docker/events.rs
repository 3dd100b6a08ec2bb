//! Docker's event stream: containers that end, whoever ended them.

use std::collections::HashMap;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::{Stream, StreamExt};

use corefn_core::function::FunctionName;
use corefn_core::instance::InstanceId;
use corefn_core::names::label;

use super::{Docker, DockerError};

/// An instance whose container has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Died {
    /// Which instance.
    pub id: InstanceId,
    /// Of which function.
    pub function: FunctionName,
}

impl Docker {
    /// Instances of the namespace that end, as Docker tells. The stream ends when the connection
    /// does; what happened meanwhile must be looked up.
    ///
    /// # Errors
    /// [`DockerError`] when Docker can't be reached.
    pub async fn deaths(&self) -> Result<impl Stream<Item = Died> + '_, DockerError> {
        let ours = format!("{}={}", label::NAMESPACE, self.namespace());
        let options = EventsOptionsBuilder::default()
            .filters(&HashMap::from([
                ("type", vec!["container".to_owned()]),
                ("event", vec!["die".to_owned()]),
                ("label", vec![ours]),
            ]))
            .build();
        let client = self.client().await?;
        Ok(client
            .events(Some(options))
            .take_while(|event| std::future::ready(event.is_ok()))
            .filter_map(|event| std::future::ready(event.ok().as_ref().and_then(died))))
    }
}

/// Reads an event; none if it isn't an instance's.
fn died(event: &EventMessage) -> Option<Died> {
    let labels = event.actor.as_ref()?.attributes.as_ref()?;
    Some(Died {
        id: labels.get(label::INSTANCE)?.parse().ok()?,
        function: labels.get(label::FUNCTION)?.parse().ok()?,
    })
}

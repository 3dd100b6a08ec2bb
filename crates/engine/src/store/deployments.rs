//! What is deployed.

use serde::Serialize;

use corefn_core::deployment::Deployment;
use corefn_core::event::Event;
use corefn_core::function::FunctionName;
use corefn_core::instance::Instance;
use corefn_core::lease::DEFAULT_IDLE;
use corefn_core::route::Route;

use super::{Store, StoreError, json, millis, read};

/// How many deployments are asked for at a time.
const AT_ONCE: u32 = 100;

/// What the script is told of a revision that is to be deployed. Texts are kept and published as they are.
#[derive(Serialize)]
struct Deploying {
    function_name: String,
    record: String,
    event: String,
    routes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<First>,
}

/// Its first instance.
#[derive(Serialize)]
struct First {
    id: String,
    record: String,
    /// Milliseconds.
    ttl: String,
    event: String,
}

impl Deploying {
    fn of(deployment: &Deployment, first: Option<&Instance>) -> Self {
        let own = Route::of(&deployment.function);
        let event = Event::Deployed {
            deployment: Box::new(deployment.clone()),
        };
        Self {
            function_name: deployment.function.to_string(),
            record: json(deployment),
            event: json(&event),
            routes: std::iter::once(&own)
                .chain(&deployment.config.routes)
                .map(ToString::to_string)
                .collect(),
            first: first.map(|first| First::of(first, deployment)),
        }
    }
}

impl First {
    fn of(instance: &Instance, deployment: &Deployment) -> Self {
        let lease_ms = millis(deployment.config.lease(DEFAULT_IDLE));
        let event = Event::Ready {
            instance: instance.clone(),
            lease_ms,
            thawed: false,
        };
        Self {
            id: instance.id.to_string(),
            record: json(instance),
            ttl: lease_ms.to_string(),
            event: json(&event),
        }
    }
}

impl Store {
    /// Whether Redis has an index: it was filled once and not emptied since.
    ///
    /// # Errors
    /// [`StoreError`], as everything below.
    pub async fn has_index(&self) -> Result<bool, StoreError> {
        self.command(redis::cmd("EXISTS").arg(self.keys.epoch()))
            .await
    }

    /// Which index it is: another text after each time that Redis was emptied and filled again, and none in between.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn epoch(&self) -> Result<Option<String>, StoreError> {
        self.command(redis::cmd("GET").arg(self.keys.epoch())).await
    }

    /// Notes that the index is complete.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn set_index(&self, epoch: &str) -> Result<(), StoreError> {
        self.command(redis::cmd("SET").arg(self.keys.epoch()).arg(epoch))
            .await
    }

    /// Deploys revisions, all of them or none: the functions, their routes, and the event. In the same step the
    /// instance beside each, which must be claimed and ready, becomes the revision's first, leased for its idle time.
    ///
    /// # Errors
    /// [`StoreError::Claimed`] when another function has one of the routes, [`StoreError::Lapsed`]
    /// when an instance is not claimed any more; nothing is changed.
    pub async fn deploy(
        &self,
        revisions: &[(&Deployment, Option<&Instance>)],
    ) -> Result<(), StoreError> {
        let mut script = self.scripts.deploy.prepare_invoke();
        script
            .key(self.keys.functions())
            .key(self.keys.routes())
            .key(self.keys.events())
            .key(self.keys.instances());
        for (deployment, first) in revisions {
            script
                .key(self.keys.failures(&deployment.function))
                .key(self.keys.pause(&deployment.function));
            if let Some(first) = first {
                script
                    .key(self.keys.ready(&first.function))
                    .key(self.keys.lease(first.id))
                    .key(self.keys.claim(first.id));
            }
            script.arg(json(&Deploying::of(deployment, *first)));
        }
        match self.invoke::<Vec<String>>(&script).await?.as_slice() {
            [route, owner] => Err(StoreError::Claimed {
                route: route.clone(),
                owner: owner.clone(),
            }),
            [_lapsed] => Err(StoreError::Lapsed),
            _ => Ok(()),
        }
    }

    /// Removes a function and its routes. Its instances are left to the caller. Returns whether it
    /// was there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn remove(&self, function: &FunctionName) -> Result<bool, StoreError> {
        let event = Event::Removed {
            function: function.clone(),
        };
        let mut script = self.scripts.remove.prepare_invoke();
        script
            .key(self.keys.functions())
            .key(self.keys.routes())
            .key(self.keys.events())
            .key(self.keys.failures(function))
            .key(self.keys.pause(function))
            .arg(function.as_str())
            .arg(json(&event))
            .arg(Route::of(function).to_string());
        self.invoke(&script).await
    }

    /// What is deployed by a name, if anything is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn deployment(&self, name: &FunctionName) -> Result<Option<Deployment>, StoreError> {
        let key = self.keys.functions();
        let mut command = redis::cmd("HGET");
        command.arg(&key).arg(name.as_str());
        let text: Option<String> = self.command(&command).await?;
        text.map(|text| read(&key, &text)).transpose()
    }

    /// Everything that is deployed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn deployments(&self) -> Result<Vec<Deployment>, StoreError> {
        let key = self.keys.functions();
        let values: Vec<String> = self.command(redis::cmd("HVALS").arg(&key)).await?;
        values.iter().map(|text| read(&key, text)).collect()
    }

    /// The same, a few at a time, in no order. What changes meanwhile may be given as it was or as it is, and more than once.
    ///
    /// # Errors
    /// [`StoreError`]; some have been given then.
    pub async fn each_deployment(
        &self,
        mut give: impl FnMut(Deployment),
    ) -> Result<(), StoreError> {
        let key = self.keys.functions();
        let mut cursor = 0_u64;
        loop {
            let mut scan = redis::cmd("HSCAN");
            scan.arg(&key).arg(cursor).arg("COUNT").arg(AT_ONCE);
            let (next, found): (u64, Vec<(String, String)>) = self.command(&scan).await?;
            for (_, text) in found {
                give(read(&key, &text)?);
            }
            cursor = next;
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    /// Those of `routes` that other functions than `by` have, with their owners.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn claimed(
        &self,
        routes: &[Route],
        by: &FunctionName,
    ) -> Result<Vec<(Route, String)>, StoreError> {
        if routes.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("HMGET");
        command.arg(self.keys.routes());
        for route in routes {
            command.arg(route.to_string());
        }
        let owners: Vec<Option<String>> = self.command(&command).await?;
        Ok(routes
            .iter()
            .zip(owners)
            .filter_map(|(route, owner)| Some((route.clone(), owner?)))
            .filter(|(_, owner)| owner != by.as_str())
            .collect())
    }
}

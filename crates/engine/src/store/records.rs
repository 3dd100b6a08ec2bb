//! What is kept for those who want to see it: the last starts, the last builds, and their logs. Nothing goes by it.

use corefn_core::keys::{LOG_TTL, RUNNING_TTL};
use corefn_core::survey::{
    BUILDS, Build, BuildCounts, BuildState, Records, STARTS, Started, Withheld,
};

use super::{Store, StoreError, json, millis, read};

impl Store {
    /// Keeps a start.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_start(&self, started: &Started) -> Result<(), StoreError> {
        let key = self.keys.starts();
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        pipeline.cmd("LPUSH").arg(&key).arg(json(started)).ignore();
        pipeline
            .cmd("LTRIM")
            .arg(&key)
            .arg(0)
            .arg(STARTS - 1)
            .ignore();
        self.pipeline(&pipeline).await
    }

    /// Keeps a build as it stands, and counts it if it has ended. The oldest are forgotten, with their logs.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_build(&self, build: &Build) -> Result<(), StoreError> {
        let counted = match build.state {
            BuildState::Deployed | BuildState::Rejected => build.state.as_str(),
            BuildState::Running | BuildState::Lost => "",
        };
        let mut script = self.scripts.keep_build.prepare_invoke();
        script
            .key(self.keys.builds())
            .key(self.keys.built())
            .arg(build.id())
            .arg(json(build))
            .arg(counted)
            .arg(BUILDS)
            .arg(self.keys.log_prefix());
        self.invoke(&script).await
    }

    /// Keeps a build's log. One that has not ended counts as being under way for [`RUNNING_TTL`] from here on.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep_log(&self, build: &Build, log: &str) -> Result<(), StoreError> {
        let ttl = match build.state {
            BuildState::Running => RUNNING_TTL,
            _ => LOG_TTL,
        };
        let key = self.keys.log(&build.id());
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(log).arg("PX").arg(millis(ttl));
        self.command(&set).await
    }

    /// The log of a build ([`Build::id`]), if it is kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn log(&self, build: &str) -> Result<Option<String>, StoreError> {
        self.command(redis::cmd("GET").arg(self.keys.log(build)))
            .await
    }

    /// All that is kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn records(&self) -> Result<Records, StoreError> {
        let (starts, builds, built) = (self.keys.starts(), self.keys.builds(), self.keys.built());
        let mut pipeline = redis::pipe();
        pipeline.cmd("LRANGE").arg(&starts).arg(0).arg(-1);
        pipeline.cmd("HVALS").arg(&builds);
        pipeline
            .cmd("HMGET")
            .arg(&built)
            .arg("deployed")
            .arg("rejected");
        type Answer = (Vec<String>, Vec<String>, (Option<u64>, Option<u64>));
        let (started, kept, counts): Answer = self.pipeline(&pipeline).await?;
        // (What another version has written, and this one can't read, is passed over.)
        let started = started.iter().filter_map(|text| read(&starts, text).ok());
        let kept = kept.iter().filter_map(|text| read(&builds, text).ok());
        let mut kept: Vec<Build> = kept.collect();
        kept.sort_by_cached_key(|build| std::cmp::Reverse(build.id()));
        self.find_lost(&mut kept).await?;
        let instances = self.instances().await?.into_iter();
        let withheld = instances.filter(|it| !it.ready).map(|it| Withheld {
            id: it.instance.id,
            function: it.instance.function,
            revision: it.instance.revision,
            frozen: it.frozen || it.kept,
        });
        Ok(Records {
            withheld: withheld.collect(),
            starts: started.collect(),
            builds: kept,
            counts: BuildCounts {
                deployed: counts.0.unwrap_or(0),
                rejected: counts.1.unwrap_or(0),
            },
        })
    }

    /// Marks those as lost that have not ended, and at which nobody is any more.
    async fn find_lost(&self, builds: &mut [Build]) -> Result<(), StoreError> {
        let running = builds.iter_mut();
        let running = running.filter(|build| build.state == BuildState::Running);
        for build in running {
            let key = self.keys.log(&build.id());
            if !self.command::<bool>(redis::cmd("EXISTS").arg(key)).await? {
                build.state = BuildState::Lost;
            }
        }
        Ok(())
    }
}

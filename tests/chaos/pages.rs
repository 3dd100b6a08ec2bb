//! Pages that are open all the time, and what measures are read: what they are told must be whole, and true in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use corefn_core::feed::EVENT_STREAM;
use corefn_tests::client::{Client, Stream};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// Where they look.
pub const STATUS: &str = "location = /corefn/status { corefn_status; }";

const PATH: &str = "/corefn/status";

/// How many are open.
const PAGES: usize = 2;

/// How long they wait before they ask again.
const PAUSE: Duration = Duration::from_millis(200);

/// How long the last news may take.
const SETTLE: Duration = Duration::from_secs(30);

/// The pages.
pub struct Pages {
    end: Arc<Notify>,
    all: JoinSet<Vec<String>>,
}

/// What a page knows: the instances of each function.
#[derive(Default)]
struct Known {
    instances: BTreeMap<String, Vec<String>>,
    /// Of which functions it has yet to be told again.
    stale: BTreeSet<String>,
    messages: usize,
}

impl Pages {
    /// They are opened.
    pub fn start(client: Client) -> Self {
        let end = Arc::new(Notify::new());
        let mut all = JoinSet::new();
        for _ in 0..PAGES {
            all.spawn(look(client, end.clone()));
        }
        all.spawn(scrape(client, end.clone()));
        Self { end, all }
    }

    /// Nothing runs any more, and they are to know that. Returns what is wrong.
    pub async fn finish(self) -> Vec<String> {
        self.end.notify_waiters();
        self.all.join_all().await.concat()
    }
}

/// One page, as a browser has it.
async fn look(client: Client, end: Arc<Notify>) -> Vec<String> {
    let mut ends = std::pin::pin!(end.notified());
    ends.as_mut().enable();
    let mut known = Known::default();
    let mut wrong = Vec::new();
    let mut deadline = None;
    loop {
        // (Workers are killed, and nginx is replaced.)
        let request = client.get(PATH).header("Accept", EVENT_STREAM);
        if let Ok(stream) = request.open().await {
            if stream.status == 200 {
                follow(stream, &mut known, &mut wrong, &mut deadline, ends.as_mut()).await;
            } else {
                wrong.push(format!("a page got {}", stream.status));
            }
        }
        if let Some(deadline) = deadline {
            let shown: Vec<_> = known
                .instances
                .iter()
                .filter(|(_, it)| !it.is_empty())
                .collect();
            if shown.is_empty() && known.messages > 0 {
                return wrong;
            }
            if Instant::now() > deadline {
                wrong.push(format!("a page shows what is not there: {shown:?}"));
                return wrong;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Takes what a page is told, until that ends, or it shows nothing when it is to.
async fn follow(
    mut stream: Stream,
    known: &mut Known,
    wrong: &mut Vec<String>,
    deadline: &mut Option<Instant>,
    mut ends: std::pin::Pin<&mut impl Future<Output = ()>>,
) {
    let mut text = String::new();
    loop {
        let piece = tokio::select! {
            piece = timeout(SETTLE, stream.next()) => piece,
            () = &mut ends, if deadline.is_none() => {
                *deadline = Some(Instant::now() + SETTLE);
                continue;
            }
        };
        let Ok(piece) = piece else {
            wrong.push(format!("a page heard nothing for {SETTLE:?}"));
            return;
        };
        let Ok(Some(piece)) = piece else {
            return;
        };
        text += &String::from_utf8_lossy(&piece);
        while let Some((event, rest)) = text.split_once("\n\n") {
            let json = event.strip_prefix("data: ").unwrap_or(event);
            match serde_json::from_str(json) {
                Ok(message) => known.take(&message),
                Err(error) => wrong.push(format!("a page was told what is no JSON: {error}")),
            }
            text = rest.to_owned();
        }
        let shows_nothing = known.instances.values().all(Vec::is_empty);
        if deadline.is_some_and(|it| shows_nothing || Instant::now() > it) {
            return;
        }
    }
}

impl Known {
    fn take(&mut self, message: &Value) {
        self.messages += 1;
        if message["reset"] == true {
            self.stale = self.instances.keys().cloned().collect();
        }
        for function in message["functions"].as_array().into_iter().flatten() {
            let name = function["name"].as_str().unwrap_or_default().to_owned();
            let instances = function["instances"].as_array().into_iter().flatten();
            let ids = instances.map(|it| format!("{} {}", it["id"], it["state"]));
            self.stale.remove(&name);
            self.instances.insert(name, ids.collect());
        }
        for name in message["removed"].as_array().into_iter().flatten() {
            self.instances.remove(name.as_str().unwrap_or_default());
        }
        if message["rest"] == 0 {
            for name in std::mem::take(&mut self.stale) {
                self.instances.remove(&name);
            }
        }
    }
}

/// Asks for what is measured, each second.
async fn scrape(client: Client, end: Arc<Notify>) -> Vec<String> {
    let mut ends = std::pin::pin!(end.notified());
    ends.as_mut().enable();
    let mut wrong = Vec::new();
    loop {
        if let Ok(answer) = client.get(PATH).send().await
            && answer.status != 200
        {
            wrong.push(format!(
                "what is measured is answered with {}",
                answer.status
            ));
        }
        tokio::select! {
            () = &mut ends => return wrong,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

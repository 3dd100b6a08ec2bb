//! Routes, and paths that are looked up among them.
//!
//! Each line is a route if it can be one. A route's text is read as itself; each route finds itself;
//! and whatever else is looked up finds a prefix of whole segments, the longest there is.

use corefn_core::route::{Route, RouteTable};

/// More routes than a table needs to show what it does wrong.
const MOST: usize = 50;

/// Checks one input.
///
/// # Panics
/// When something is wrong with what is made of it.
pub fn run(bytes: &[u8]) {
    let mut table = RouteTable::default();
    let mut routes: Vec<Route> = Vec::new();
    for line in bytes.split(|&byte| byte == b'\n').take(MOST) {
        let Ok(text) = std::str::from_utf8(line) else {
            continue;
        };
        match text.parse::<Route>() {
            Ok(route) => {
                assert_eq!(
                    route.to_string().parse::<Route>().as_ref(),
                    Ok(&route),
                    "{text:?}"
                );
                assert_eq!(
                    table.insert(&route, route.clone()).is_some(),
                    routes.contains(&route)
                );
                routes.push(route);
            }
            Err(error) => assert!(error.to_string().contains(&format!("{text:?}"))),
        }
    }
    for route in &routes {
        let found = table.find(route.host().as_bytes(), route.prefix().as_bytes(), |_| None);
        assert_eq!(found, Some((route, route.prefix().len())));
        let below = format!("{}/deeper", route.prefix());
        let found = table.find(route.host().as_bytes(), below.as_bytes(), |_| None);
        assert!(found.is_some_and(|(_, end)| end >= route.prefix().len()));
    }
    // Every line is a path that may be asked for, of every host.
    for path in bytes.split(|&byte| byte == b'\n').take(MOST) {
        for host in routes.iter().map(|route| route.host()).chain(["", "other"]) {
            look_up(&table, &routes, host, path);
        }
    }
    for route in &routes {
        table.remove(route);
    }
    assert!(table.is_empty());
}

fn look_up(table: &RouteTable<Route>, routes: &[Route], host: &str, path: &[u8]) {
    let matches = |route: &Route| {
        let prefix = route.prefix().as_bytes();
        path.starts_with(prefix) && matches!(path.get(prefix.len()), None | Some(b'/'))
    };
    let longest = |host: &str| {
        let of_host = routes
            .iter()
            .filter(|route| route.host() == host && matches(route));
        of_host.max_by_key(|route| route.prefix().len())
    };
    let wanted = longest(host).or_else(|| longest(""));
    let found = table.find(host.as_bytes(), path, |_| None);
    // nginx knows no other paths than those that begin with a slash.
    if path.first() != Some(&b'/') {
        return;
    }
    assert_eq!(
        found,
        wanted.map(|route| (route, route.prefix().len())),
        "{host:?} {:?}",
        String::from_utf8_lossy(path)
    );
}

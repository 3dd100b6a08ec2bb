//! What `nginx -t` says to each directive.

use corefn_tests::folder::Folder;
use corefn_tests::nginx::check;
use corefn_tests::{nginx, programs};

use rows::{BAD, Block, GOOD, Http, Location, Main, Server, Upstream};

mod rows;

/// The line on which a row's lines are, in any configuration that has them.
const LINE: usize = 4;

/// A configuration with the row's lines on [`LINE`].
fn conf(block: Block, lines: &str) -> String {
    let module = programs::module();
    let head = format!(
        "load_module {};\npid checked.pid;\nevents {{}}\n",
        module.display()
    );
    let body = match block {
        Main => format!("{lines}\nhttp {{}}"),
        Http => format!("http {{ {lines}\n}}"),
        Server => format!("http {{ server {{ {lines}\n}} }}"),
        Location => format!("http {{ server {{ location / {{ {lines}\n}} }} }}"),
        Upstream => format!("http {{ upstream functions {{ {lines}\n}} }}"),
    };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path temp-{kind};"))
        .join(" ");
    let names_docker = ["corefn_docker", "corefn/http.conf"]
        .iter()
        .any(|named| lines.contains(named));
    let gate = match names_docker || block == Main {
        true => "",
        false => "corefn_docker unix:///nowhere/router/docker.sock;",
    };
    let http = format!("http {{ {temporary} access_log off; {gate}");
    head + &body.replacen("http {", &http, 1)
}

#[test]
fn good_values_are_taken() {
    let folder = Folder::create("good");
    let mut wrong = Vec::new();
    for (block, lines) in GOOD {
        let checked = check(&folder, &conf(*block, lines));
        if !checked.accepted || checked.output.contains("[warn]") {
            wrong.push(format!("{block:?} {lines}\n{}", checked.output));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn wrong_values_are_refused_with_place_and_remedy() {
    let folder = Folder::create("bad");
    let mut wrong = Vec::new();
    for (block, lines, says) in BAD {
        let checked = check(&folder, &conf(*block, lines));
        // What concerns a whole upstream shows at the end of the block.
        let place = format!("checked.conf:{LINE}");
        let ended = format!("checked.conf:{}", LINE + 1);
        let placed = checked.output.contains(&place)
            || *block == Upstream && checked.output.contains(&ended);
        let said = says.iter().all(|text| checked.output.contains(text));
        if checked.accepted || !placed || !said {
            wrong.push(format!("{block:?} {lines}\n{}", checked.output));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files_for_operators_are_taken() {
    let folder = Folder::create("files");
    nginx::include_files(&folder);
    let read = |name: &str| {
        std::fs::read_to_string(programs::workspace().join("nginx-conf").join(name)).unwrap()
    };
    let site = read("conf.d/corefn.conf") + &read("sites-available/corefn");
    let site = site.replace("/var/log/nginx", &folder.path().display().to_string());
    let checked = check(&folder, &conf(Http, &site));
    assert!(checked.accepted, "{}", checked.output);

    let demo = read("demo.conf.in");
    for folder_of_demo in ["nginx", "bin"] {
        std::fs::create_dir(folder.file(folder_of_demo)).unwrap();
    }
    std::os::unix::fs::symlink(
        programs::module(),
        folder.file("bin/ngx_http_corefn_module.so"),
    )
    .unwrap();
    let demo = demo
        .replace("@HOME@", &folder.path().display().to_string())
        .replace("@NAMESPACE@", folder.name())
        .replace("@WORKERS@", "root")
        .replace("@PORT@", "1");
    let checked = check(&folder, &demo);
    assert!(checked.accepted, "{}", checked.output);
}

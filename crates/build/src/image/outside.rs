//! What a `Dockerfile` has Docker itself bring: the images that it names, and files from addresses.
//!
//! Docker does that from the host's network and with all images that it has, among them other accounts' functions. So
//! images are looked up here and given by their identifiers, which are those of an image of that name and of no function; and
//! there is no `ADD` of an address, neither in the file nor in what an image brings by `ONBUILD`.

use std::collections::{HashMap, HashSet};

use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt as _;

use corefn_core::host::Host;
use corefn_core::image::ImageReference;
use corefn_core::names::label;
use corefn_engine::docker::Docker;

use super::instructions::{Instruction, Instructions, wrong};
use crate::error::BuildError;
use crate::output::Output;

/// The image that has nothing, which is none.
const SCRATCH: &str = "scratch";

/// How the addresses begin that Docker's builder fetches.
const ADDRESSES: [&str; 2] = ["http://", "https://"];

/// What makes of a word another one.
const SPECIAL: [char; 5] = ['$', '\'', '"', '\\', '`'];

/// An image that an instruction names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    /// Which instruction.
    at: usize,
    image: ImageReference,
    /// The arguments of the instruction, before and after the image.
    around: (String, String),
}

/// The images that a file begins with or copies from, by what they were put in the place of.
#[derive(Debug, Default)]
pub struct Images(HashMap<String, String>);

impl Images {
    /// A line of Docker's with their names in place of identifiers.
    pub fn named(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (id, name) in &self.0 {
            line = line.replace(id, name);
        }
        line
    }
}

/// Puts identifiers in the place of the images that a `Dockerfile` names, and pulls those that are not there.
///
/// # Errors
/// [`BuildError::Rejected`] with the line by which Docker would read what no pusher may, or an image that can't be had.
pub async fn pin(
    docker: &Docker,
    host: &Host,
    file: &mut Instructions,
    output: &mut Output,
) -> Result<Images, BuildError> {
    let mut images = Images::default();
    for Wanted { at, image, around } in wanted(&file.all)? {
        let line = file.all[at].line;
        let id = identifier(docker, host, line, &image, output).await?;
        let (before, after) = around;
        file.all[at].arguments = format!("{before}{id}{after}");
        images.0.insert(id, image.to_string());
    }
    Ok(images)
}

/// The identifier of an image, which is pulled if it is not there.
async fn identifier(
    docker: &Docker,
    host: &Host,
    line: usize,
    image: &ImageReference,
    output: &mut Output,
) -> Result<String, BuildError> {
    let foreign = || {
        let what = format!(
            "{image} is an image of CoreFn's functions: begin with one that is made for that, such as a language's own"
        );
        wrong(line, &what)
    };
    if image.is_of(docker.namespace()) {
        return Err(foreign());
    }
    let client = docker.client().await?;
    let name = image.to_string();
    let look = async || {
        let found = client.inspect_image(&name).await;
        found.map_err(|cause| docker.failed(format!("look at the image {name}"), cause))
    };
    let found = match look().await {
        Err(error) if error.is_absent() => {
            pull(docker, host, line, image, output).await?;
            look().await?
        }
        found => found?,
    };
    let config = found.config.unwrap_or_default();
    if config
        .labels
        .is_some_and(|labels| labels.contains_key(label::NAMESPACE))
    {
        return Err(foreign());
    }
    for trigger in config.on_build.unwrap_or_default() {
        let trigger = Instruction::read(line, &trigger);
        let fetches = address(&trigger)?.is_some() || copied_from(&trigger)?.is_some();
        if fetches {
            return Err(wrong(
                line,
                &format!(
                    "{image} would have Docker itself fetch something, by its ONBUILD {} {}: begin with another image",
                    trigger.keyword, trigger.arguments
                ),
            ));
        }
    }
    found.id.ok_or(BuildError::Lost)
}

async fn pull(
    docker: &Docker,
    host: &Host,
    line: usize,
    image: &ImageReference,
    output: &mut Output,
) -> Result<(), BuildError> {
    if let Err(why) = host.build.may_pull(image) {
        return Err(wrong(line, &format!("{image} is not pulled: {why}")));
    }
    let options = CreateImageOptionsBuilder::default()
        .from_image(&image.name())
        .tag(image.version())
        .build();
    let mut steps = docker
        .client()
        .await?
        .create_image(Some(options), None, None);
    while let Some(step) = steps.next().await {
        let step = step.map_err(|cause| {
            let error = docker.failed(format!("pull the image {image}"), cause);
            wrong(line, &error.to_string())
        })?;
        // (Of its layers there would be a line for every few kilobytes.)
        let is_whole = step.id.is_none_or(|id| id == image.version());
        if let Some(status) = step.status.filter(|_| is_whole) {
            output.line(&status).await;
        }
    }
    Ok(())
}

/// The images of a file that are no stages of it.
fn wanted(all: &[Instruction]) -> Result<Vec<Wanted>, BuildError> {
    let (mut arguments, mut stages) = (HashMap::new(), HashSet::new());
    let (mut wanted, mut has_begun) = (Vec::new(), false);
    for (at, instruction) in all.iter().enumerate() {
        let line = instruction.line;
        // What is done later, in a stage that begins with this one, is as if it were done now.
        let (before, inner) = match instruction.keyword.as_str() {
            "ONBUILD" => {
                let inner = Instruction::read(line, &instruction.arguments);
                (format!("{} ", inner.keyword), inner)
            }
            _ => (String::new(), instruction.clone()),
        };
        if let Some(word) = address(&inner)? {
            return Err(wrong(
                line,
                &format!(
                    "ADD {word} can be an address, which Docker would fetch from the host's own network: write COPY for a \
                     file, and have a RUN line fetch what is elsewhere"
                ),
            ));
        }
        match inner.keyword.as_str() {
            "ARG" if !has_begun => declare(&inner.arguments, &mut arguments),
            "FROM" => {
                has_begun = true;
                let base = Base::read(&inner, &arguments)?;
                if base.name != SCRATCH && !stages.contains(&base.name.to_lowercase()) {
                    wanted.push(Wanted {
                        at,
                        image: reference(line, &base.name)?,
                        around: (format!("{before}{}", base.before), base.after),
                    });
                }
                stages.extend(base.stage);
            }
            _ => {
                let Some((flags, from, rest)) = copied_from(&inner)? else {
                    continue;
                };
                let is_number = from.parse::<i64>().is_ok();
                if !is_number && !stages.contains(&from.to_lowercase()) {
                    wanted.push(Wanted {
                        at,
                        image: reference(line, &from)?,
                        around: (format!("{before}{flags}"), rest),
                    });
                }
            }
        }
    }
    Ok(wanted)
}

fn reference(line: usize, name: &str) -> Result<ImageReference, BuildError> {
    name.parse()
        .map_err(|error| wrong(line, &format!("{error}")))
}

/// What a `FROM` begins with.
struct Base {
    name: String,
    /// The arguments before and after it.
    before: String,
    after: String,
    /// What the stage is called.
    stage: Option<String>,
}

impl Base {
    fn read(
        from: &Instruction,
        arguments: &HashMap<String, Option<String>>,
    ) -> Result<Self, BuildError> {
        let (flags, rest) = flags(from)?;
        let words: Vec<_> = rest.split_whitespace().collect();
        let (name, stage) = match words[..] {
            [name] => (name, None),
            [name, word, stage] if word.eq_ignore_ascii_case("AS") => (name, Some(stage)),
            _ => {
                let what = "FROM takes an image, or an image, AS and a name";
                return Err(wrong(from.line, what));
            }
        };
        let expanded = expand(name, arguments).ok_or_else(|| {
            let what = format!(
                "it can't be said which image {name} is: write its name, or $NAME, ${{NAME}} or ${{NAME:-default}} with an ARG \
                 before the first FROM"
            );
            wrong(from.line, &what)
        })?;
        let before: String = flags.iter().map(|flag| format!("{flag} ")).collect();
        Ok(Self {
            name: expanded,
            before,
            after: stage.map_or_else(String::new, |stage| format!(" AS {stage}")),
            stage: stage.map(str::to_lowercase),
        })
    }
}

/// Notes what an `ARG` before the first `FROM` declares; no value where it is not understood.
fn declare(words: &str, arguments: &mut HashMap<String, Option<String>>) {
    for word in words.split_whitespace() {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let unquoted = ['"', '\'']
            .into_iter()
            .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
        let value = expand(unquoted.unwrap_or(value), arguments);
        arguments.insert(name.to_owned(), value);
    }
}

/// A word with the values of its variables; nothing where it has something else that Docker would read in its own way.
fn expand(word: &str, arguments: &HashMap<String, Option<String>>) -> Option<String> {
    let Some((before, rest)) = word.split_once('$') else {
        return (!word.contains(SPECIAL)).then(|| word.to_owned());
    };
    let value = |name: &str| match arguments.get(name) {
        Some(value) => value.clone(),
        None => Some(String::new()),
    };
    let is_name = |text: &str| {
        let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        !text.is_empty()
            && text.bytes().all(is_inside)
            && !text.starts_with(|first: char| first.is_ascii_digit())
    };
    let (value, rest) = match rest.strip_prefix('{') {
        Some(rest) => {
            let (inside, rest) = rest.split_once('}')?;
            let (name, default) = match inside.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inside, None),
            };
            if !is_name(name) {
                return None;
            }
            let value = value(name)?;
            match default {
                Some(default) if value.is_empty() => (expand(default, arguments)?, rest),
                _ => (value, rest),
            }
        }
        None => {
            let is_outside = |it: char| !(it.is_ascii_alphanumeric() || it == '_');
            let end = rest.find(is_outside).unwrap_or(rest.len());
            let (name, rest) = rest.split_at(end);
            if !is_name(name) {
                return None;
            }
            (value(name)?, rest)
        }
    };
    let before = expand(before, arguments)?;
    let rest = expand(rest, arguments)?;
    Some(format!("{before}{value}{rest}"))
}

/// The flags of an instruction, and what follows them.
fn flags(instruction: &Instruction) -> Result<(Vec<&str>, &str), BuildError> {
    let (mut flags, mut rest) = (Vec::new(), instruction.arguments.trim_start());
    while rest.starts_with("--") {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (flag, after) = rest.split_at(end);
        // (Where it ends would be another question.)
        if flag.contains(['\'', '"', '\\', '`']) {
            let what =
                format!("the flag {flag} can be read in several ways: write it without quotes");
            return Err(wrong(instruction.line, &what));
        }
        flags.push(flag);
        rest = after.trim_start();
        if flag == "--" {
            break;
        }
    }
    Ok((flags, rest))
}

/// From where a `COPY` takes its files, with the arguments before and after.
fn copied_from(copy: &Instruction) -> Result<Option<(String, String, String)>, BuildError> {
    if copy.keyword != "COPY" {
        return Ok(None);
    }
    let (flags, rest) = flags(copy)?;
    let (mut before, mut found, mut after) = (String::new(), None, String::new());
    for flag in flags {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        match (name, &found) {
            ("--from", None) if value.contains('$') => {
                let what = format!(
                    "{flag}: Docker knows no variables there; write the name of an image or of a stage"
                );
                return Err(wrong(copy.line, &what));
            }
            ("--from", Some(_)) => return Err(wrong(copy.line, "COPY has two --from")),
            ("--from", None) => {
                before.push_str("--from=");
                found = Some(value.to_owned());
            }
            (_, None) => before.push_str(&format!("{flag} ")),
            (_, Some(_)) => after.push_str(&format!(" {flag}")),
        }
    }
    Ok(found.map(|from| (before, from, format!("{after} {rest}"))))
}

/// The word of an `ADD` that is an address, or may turn out as one.
fn address(add: &Instruction) -> Result<Option<String>, BuildError> {
    if add.keyword != "ADD" {
        return Ok(None);
    }
    let (_, text) = flags(add)?;
    if let Ok(list) = serde_json::from_str::<Vec<String>>(text) {
        return Ok(list.into_iter().find(|word| may_be_address(word)));
    }
    // (Docker may find a list where there is none for others.)
    let may_be_list = text.starts_with('[') && text.contains('"');
    let mut words = text.split_whitespace();
    let found = words.find(|word| may_be_list || may_be_address(word));
    Ok(found.map(str::to_owned))
}

fn may_be_address(word: &str) -> bool {
    let word = word.trim_start();
    let begin = word.split(SPECIAL).next().unwrap_or_default();
    let is_whole = begin.len() == word.len();
    let begin = begin.to_lowercase();
    ADDRESSES
        .into_iter()
        .any(|address| begin.starts_with(address) || !is_whole && address.starts_with(&begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file comes to when its images are `<name>`.
    fn pinned(text: &str) -> String {
        let read = || {
            let mut file = Instructions::read(text)?;
            for Wanted { at, image, around } in wanted(&file.all)? {
                file.all[at].arguments = format!("{}<{image}>{}", around.0, around.1);
            }
            Ok(file.text())
        };
        read().unwrap_or_else(|error: BuildError| error.to_string())
    }

    #[test]
    fn images_are_found_where_docker_finds_them() {
        for (text, want) in [
            ("FROM a", "FROM <docker.io/library/a:latest>\n"),
            ("FROM scratch\nCOPY a /", "FROM scratch\nCOPY a /\n"),
            (
                "FROM --platform=$P a:1 as B\nFROM b AS c\nCOPY --from=C x /\nCOPY --from=0 x /\nCOPY --chown=$U --from=d --link x /",
                "FROM --platform=$P <docker.io/library/a:1> AS B\nFROM b AS c\nCOPY --from=C x /\nCOPY --from=0 x /\n\
                 COPY --chown=$U --from=<docker.io/library/d:latest> --link x /\n",
            ),
            // (A stage is one from then on.)
            (
                "FROM a\nCOPY --from=b x /\nFROM a AS b",
                "FROM <docker.io/library/a:latest>\nCOPY --from=<docker.io/library/b:latest> x /\nFROM <docker.io/library/a:latest> AS b\n",
            ),
            (
                "ARG V=1\nARG I='a' J=\"${I}b\"\nFROM $J:${V}-x\nARG V=2\nFROM h.x/${N:-a$V}",
                "ARG V=1\nARG I='a' J=\"${I}b\"\nFROM <docker.io/library/ab:1-x>\nARG V=2\nFROM <h.x/a1:latest>\n",
            ),
            (
                "FROM a\nONBUILD COPY --from=b x /\nONBUILD RUN c",
                "FROM <docker.io/library/a:latest>\nONBUILD COPY --from=<docker.io/library/b:latest> x /\nONBUILD RUN c\n",
            ),
            (
                "FROM 0123456789ab",
                "FROM <docker.io/library/0123456789ab:latest>\n",
            ),
            ("RUN FROM a", "RUN FROM a\n"),
        ] {
            assert_eq!(pinned(text), want, "{text}");
        }
    }

    #[test]
    fn what_can_not_be_said_is_refused() {
        for text in [
            "FROM \"a\"",
            "FROM a\\b",
            "FROM ${A:+b}",
            "FROM $1",
            "FROM ${A",
            "FROM $",
            "ARG A=a\\b\nFROM $A",
            "FROM ${A:-'b'}",
        ] {
            let found = pinned(text);
            assert!(
                found.contains("it can't be said which image"),
                "{text}: {found}"
            );
        }
        for (text, says) in [
            ("FROM a b", "Dockerfile:1: FROM takes an image"),
            ("FROM", "Dockerfile:1: FROM takes an image"),
            ("FROM A", "'A' is no name of an image"),
            ("FROM $A", "'' is no name of an image"),
            (
                "FROM a\n\nCOPY --fr\\om=b c d",
                "Dockerfile:3: the flag --fr\\om=b",
            ),
            (
                "FROM --platform=\"b c",
                "Dockerfile:1: the flag --platform=\"b",
            ),
            (
                "FROM a\nADD --chown=\"x [\" http://h/a \"/x\"]",
                "the flag --chown=\"x",
            ),
            (
                "FROM a\nCOPY --from=$B c d",
                "--from=$B: Docker knows no variables",
            ),
            ("FROM a\nCOPY --\"from\"=b c d", "the flag --\"from\"=b"),
            ("FROM a\nCOPY --from=0 --from=b c d", "two --from"),
            ("FROM a\nONBUILD COPY --from=$B c d", "--from=$B: Docker"),
        ] {
            let found = pinned(text);
            assert!(found.contains(says), "{text}: {found}");
        }
    }

    #[test]
    fn addresses_are_not_added() {
        for add in [
            "ADD http://169.254.169.254/latest /x",
            "add --chown=1 https://h/a /x",
            "ADD HTTPS://h/a /x",
            "ADD a b http://h/a /x",
            "ADD $URL /x",
            "ADD ${URL} /x",
            "ADD h$T /x",
            "ADD http:/${A} /x",
            "ADD \"http\"://h/a /x",
            "ADD h\\ttp://h/a /x",
            "ADD [\"http://h/a\", \"/x\"]",
            "ADD [\"\\u0068ttp://h/a\", \"/x\"]",
            "ADD --chown=1 [\"\\u0068ttp://h/a\", \"/x\"]",
            "ADD [\"\\ud800\",\"\\u0068ttp://h/a\",\"/x\"]",
            "ONBUILD ADD http://h/a /x",
            "onbuild add $URL /x",
            "A\\\nDD ht\\\ntp://h/a /x",
        ] {
            let found = pinned(&format!("FROM a\n{add}\n"));
            assert!(found.starts_with("Dockerfile:2: ADD "), "{add}: {found}");
        }
        for add in [
            "ADD a.tar /x",
            "ADD a[0-9].tar /x",
            "ADD dir/$NAME /x",
            "ADD [\"a b\", \"/x\"]",
            "ADD --chown=1 [\"a\", \"/x\"]",
            "ADD a /x/$Y",
            "COPY $A /x",
            "RUN curl http://h/a",
        ] {
            let found = pinned(&format!("FROM a\n{add}\n"));
            assert!(found.ends_with(&format!("{add}\n")), "{add}: {found}");
        }
    }
}

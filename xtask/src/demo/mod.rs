//! `cargo xtask demo`: one real model on real data, act by act, through the built server and the unmodified client: made,
//! judged, approved, served, spoiled, taken off, rolled back, watched, trained again, traced and proven.

mod acts;
mod operator;
mod pictures;
mod release;
mod replay;
mod stage;

use crate::setup;
use crate::shell::{self, say};
use anyhow::bail;
use stage::Stage;
use std::path::PathBuf;

/// The model of the example.
const MODEL: &str = "flight-delay";

/// How the demo is played.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wishes {
    /// The server is stopped at the end.
    exit: bool,
    /// Pictures of the pages go there.
    pictures: Option<PathBuf>,
}

impl Wishes {
    fn read(arguments: &[String]) -> anyhow::Result<Self> {
        let mut wishes = Self::default();
        let mut rest = arguments.iter().map(String::as_str).peekable();
        while let Some(argument) = rest.next() {
            match argument {
                "--exit" => wishes.exit = true,
                "--screenshots" => {
                    wishes.pictures = Some(pictures::folder(rest.next_if(|next| !next.starts_with("--"))));
                }
                other => bail!("the demo takes --exit and --screenshots [folder], not `{other}`"),
            }
        }
        Ok(wishes)
    }
}

pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let wishes = Wishes::read(arguments)?;
    let python = setup::python()?;
    let binary = shell::built_server()?;
    let mut stage = Stage::set(binary, python)?;
    let mut played = acts::play(&mut stage);
    if let (Ok(()), Some(folder)) = (&played, &wishes.pictures) {
        played = pictures::take(&stage, folder);
    }
    if played.is_ok() && !wishes.exit {
        say(format!("the server stays up: {}  (Ctrl-C ends it)", stage.url()));
        say(format!("sign in as its admin with the token {}", stage.admin()));
        return stage.wait();
    }
    let stopped = stage.stop();
    played.and(stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> anyhow::Result<Wishes> {
        Wishes::read(&arguments.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn pictures_go_to_the_folder_that_is_named_or_to_the_usual_one() {
        let wishes = read(&["--screenshots", "--exit"]).unwrap();
        assert!(wishes.exit && wishes.pictures.unwrap().ends_with("target/screenshots/demo"));
        let wishes = read(&["--exit", "--screenshots", "/elsewhere"]).unwrap();
        assert_eq!(wishes.pictures, Some(PathBuf::from("/elsewhere")));
        assert_eq!(read(&[]).unwrap(), Wishes::default());
        assert!(read(&["--screnshots"]).is_err());
    }
}

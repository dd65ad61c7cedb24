//! `trueline data`: files become dataset versions. Bytes that the server has already are not sent again.

use super::client::Client;
use super::{Connection, table};
use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use trueline_query::{Format, Part, write_csv};

#[derive(Subcommand)]
pub(crate) enum DataCommand {
    /// Make a dataset version of CSV (also gzipped) or Parquet files
    Add {
        /// Files, folders, or patterns such as 'flights/*.parquet'
        #[arg(required = true)]
        paths: Vec<String>,
        /// Name of the dataset; by default that of the file or folder
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// List datasets, or the versions of one
    List {
        /// The dataset
        name: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Show a version with its profile
    Show {
        /// `name`, `name@2`, or `name@` and the beginning of an id
        dataset: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Fetch the files of a version
    Get {
        /// `name`, `name@2`, or `name@` and the beginning of an id
        dataset: String,
        /// Folder to put them into
        #[arg(long, default_value = ".")]
        to: PathBuf,
        /// Write each file as CSV, for tools that read no Parquet
        #[arg(long)]
        csv: bool,
        #[command(flatten)]
        connection: Connection,
    },
}

pub(crate) fn run(command: DataCommand) -> anyhow::Result<()> {
    match command {
        DataCommand::Add { paths, name, connection } => add(&paths, name, &connection),
        DataCommand::List { name, connection } => list(name.as_deref(), &connection),
        DataCommand::Show { dataset, connection } => show(&dataset, &connection),
        DataCommand::Get { dataset, to, csv, connection } => get(&dataset, &to, csv, &connection),
    }
}

fn known(path: &Path) -> bool {
    Format::of_name(&path.to_string_lossy()).is_some()
}

/// The files below a folder that are tables.
fn below(folder: &Path, found: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            below(&path, found)?;
        } else if known(&path) {
            found.insert(path);
        }
    }
    Ok(())
}

/// The files that paths and patterns name, each once, in the order of their paths.
fn expand(paths: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = BTreeSet::new();
    for given in paths {
        let before = found.len();
        let path = PathBuf::from(given);
        if path.is_dir() {
            below(&path, &mut found)?;
        } else if path.exists() {
            found.insert(path);
        } else {
            let matches = glob::glob(given).with_context(|| format!("{given} is no pattern"))?;
            for path in matches {
                let path = path?;
                if path.is_file() {
                    found.insert(path);
                }
            }
        }
        if found.len() == before {
            bail!(
                "{given} names no file that is not named already: give a CSV or Parquet file, a folder or a pattern"
            );
        }
    }
    if let Some(other) = found.iter().find(|p| !known(p)) {
        bail!("{} is of no known format: it must end in .csv, .csv.gz or .parquet", other.display());
    }
    Ok(found.into_iter().collect())
}

/// The folder that all files lie in, below which they are named.
fn common_folder(files: &[PathBuf]) -> PathBuf {
    let mut folder = files.first().and_then(|f| f.parent()).unwrap_or(Path::new("")).to_owned();
    while !files.iter().all(|f| f.starts_with(&folder)) {
        if !folder.pop() {
            break;
        }
    }
    folder
}

/// A name for the dataset: of the only file, else of the folder.
fn default_name(files: &[PathBuf], folder: &Path) -> anyhow::Result<String> {
    let path = match files {
        [file] => file.clone(),
        _ => std::path::absolute(folder)?,
    };
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = [".csv.gz", ".csv", ".parquet"].iter().find_map(|end| name.strip_suffix(end));
    Ok(stem.unwrap_or(&name).to_owned())
}

fn digest(path: &Path) -> anyhow::Result<(String, u64)> {
    let mut file = File::open(path).with_context(|| format!("can't read {}", path.display()))?;
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0_u64, vec![0; 1 << 20]);
    loop {
        let n = file.read(&mut buffer).with_context(|| format!("can't read {}", path.display()))?;
        if n == 0 {
            return Ok((hex::encode(hash.finalize()), size));
        }
        hash.update(&buffer[..n]);
        size += n as u64;
    }
}

fn add(paths: &[String], name: Option<String>, connection: &Connection) -> anyhow::Result<()> {
    let files = expand(paths)?;
    let folder = common_folder(&files);
    let name = name.map_or_else(|| default_name(&files, &folder), Ok)?;
    let mut told = Vec::new();
    for file in &files {
        let (sha256, size) = digest(file)?;
        let shown = file.strip_prefix(&folder).unwrap_or(file).to_string_lossy().into_owned();
        told.push(json!({ "name": shown, "sha256": sha256, "size": size }));
    }
    let client = Client::new(connection);
    upload(&client, &files, &told)?;
    let accepted =
        client.send("POST", &format!("/api/v1/datasets/{name}/versions"), &json!({ "files": told }))?;
    let made = client.follow(&accepted)?;
    if connection.json {
        table::json(&made);
        return Ok(());
    }
    let known = if made["new"] == true { "" } else { " (these bytes were there already)" };
    table::note(format!("{name}@{}{known}", table::cell(&made, "number")));
    table::line(table::cell(&made, "id"));
    Ok(())
}

fn upload(client: &Client, files: &[PathBuf], told: &[Value]) -> anyhow::Result<()> {
    let digests: Vec<&Value> = told.iter().map(|t| &t["sha256"]).collect();
    let asked = client.send("POST", "/api/v1/dataset-files/missing", &json!({ "sha256": digests }))?;
    let missing = asked["missing"].as_array().context("the server does not say what it lacks")?;
    let mut missing: BTreeSet<&str> = missing.iter().filter_map(Value::as_str).collect();
    for (path, told) in files.iter().zip(told) {
        let sha256 = told["sha256"].as_str().unwrap_or_default();
        if missing.remove(sha256) {
            table::note(format!("sending {} ({} bytes)", path.display(), told["size"]));
            let file = File::open(path).with_context(|| format!("can't read {}", path.display()))?;
            client.send_file(&format!("/api/v1/dataset-files/{sha256}"), file)?;
        }
    }
    Ok(())
}

fn list(name: Option<&str>, connection: &Connection) -> anyhow::Result<()> {
    let client = Client::new(connection);
    let (answer, key) = match name {
        Some(name) => (client.get(&format!("/api/v1/datasets/{name}"))?, "versions"),
        None => (client.get("/api/v1/datasets?limit=1000")?, "datasets"),
    };
    if connection.json {
        table::json(&answer);
        return Ok(());
    }
    let fields = ["name", "number", "rows", "size", "created_by", "created_at"];
    let row = |d: &Value| {
        let id: String = table::cell(d, "id").chars().take(12).collect();
        fields.iter().map(|f| table::cell(d, f)).chain([id]).collect()
    };
    let rows: Vec<Vec<String>> = answer[key].as_array().into_iter().flatten().map(row).collect();
    table::rows(&["NAME", "VERSION", "ROWS", "BYTES", "BY", "AT", "ID"], &rows);
    Ok(())
}

/// The address of a version that people name `name@version`.
pub(crate) fn version_path(dataset: &str) -> String {
    let (name, version) = dataset.split_once('@').unwrap_or((dataset, "latest"));
    format!("/api/v1/datasets/{name}/versions/{version}")
}

fn show(dataset: &str, connection: &Connection) -> anyhow::Result<()> {
    let version = Client::new(connection).get(&version_path(dataset))?;
    if connection.json {
        table::json(&version);
        return Ok(());
    }
    table::line(format!(
        "{}@{}  {}",
        version["name"].as_str().unwrap_or(""),
        version["number"],
        table::cell(&version, "id")
    ));
    table::line(format!(
        "{} rows, {} bytes in {} files, added by {} at {}",
        version["rows"],
        version["size"],
        version["files"].as_array().map_or(0, Vec::len),
        table::cell(&version, "created_by"),
        table::cell(&version, "created_at")
    ));
    let column = |c: &Value| {
        let middle = c["quantiles"].as_array().into_iter().flatten().find(|q| q["p"] == 0.5);
        let middle = middle.map_or_else(|| "–".to_owned(), |q| table::cell(q, "value"));
        let common = c["frequent"].as_array().into_iter().flatten().take(3);
        let common: Vec<String> = common.map(|f| table::cell(f, "value")).collect();
        // Of text the profile knows lengths only.
        let end = |field: &str| match c["type"] == "string" && !c[field].is_null() {
            true => format!("length {}", c[field]),
            false => table::cell(c, field),
        };
        let mut row: Vec<String> = ["name", "type", "nulls"].iter().map(|f| table::cell(c, f)).collect();
        let distinct = c["distinct"].as_f64().map_or_else(|| "–".to_owned(), |n| format!("{n:.0}"));
        row.extend([distinct, end("min"), middle, end("max"), common.join(", ")]);
        row
    };
    let columns = version["profile"]["columns"].as_array();
    let rows: Vec<Vec<String>> = columns.into_iter().flatten().map(column).collect();
    table::rows(&["COLUMN", "TYPE", "NULLS", "DISTINCT", "MIN", "MEDIAN", "MAX", "FREQUENT"], &rows);
    Ok(())
}

fn get(dataset: &str, to: &Path, csv: bool, connection: &Connection) -> anyhow::Result<()> {
    let client = Client::new(connection);
    let path = version_path(dataset);
    let version = client.get(&path)?;
    for (place, file) in version["files"].as_array().into_iter().flatten().enumerate() {
        let name = Path::new(file["name"].as_str().unwrap_or("file"));
        // A name from elsewhere must not lead out of the folder.
        let plain = name.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        let name = if plain { name } else { name.file_name().map(Path::new).unwrap_or(Path::new("file")) };
        let target = to.join(name);
        std::fs::create_dir_all(target.parent().unwrap_or(to))?;
        let part = target.with_extension("part");
        let version_path =
            format!("/api/v1/datasets/{}/versions/{}", table::cell(&version, "name"), version["number"]);
        client.fetch(&format!("{version_path}/files/{place}"), &mut File::create(&part)?)?;
        let (sha256, _) = digest(&part)?;
        anyhow::ensure!(file["sha256"] == sha256.as_str(), "{} arrived with other bytes", target.display());
        let target = if csv { as_csv(&part, &target)? } else { target };
        std::fs::rename(&part, &target)?;
        table::line(target.display());
    }
    Ok(())
}

/// Turns the fetched bytes of `target` into CSV; answers what they are to be called.
fn as_csv(part: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    let name = target.display().to_string();
    let format = Format::of_name(&name).with_context(|| format!("{name} is of no known format"))?;
    if format == Format::Csv {
        return Ok(target.to_owned());
    }
    let written = target.with_extension("csv-part");
    let to = std::io::BufWriter::new(File::create(&written)?);
    write_csv(&Part { name, path: part.to_owned(), format }, to)?;
    std::fs::rename(&written, part)?;
    let plain = if format == Format::CsvGz { target.with_extension("") } else { target.to_owned() };
    Ok(plain.with_extension("csv"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dataset_is_called_after_its_only_file_or_its_folder() {
        let name = |files: &[&str]| {
            let files: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
            let folder = common_folder(&files);
            (default_name(&files, &folder).unwrap(), folder)
        };
        assert_eq!(name(&["/d/flights.csv.gz"]), ("flights".to_owned(), PathBuf::from("/d")));
        assert_eq!(name(&["/d/x/1.csv", "/d/x/y/2.csv"]), ("x".to_owned(), PathBuf::from("/d/x")));
    }
}

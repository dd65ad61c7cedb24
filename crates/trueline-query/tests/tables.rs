//! Files of each format become tables, and profiles of them.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use trueline_query::{
    Format, ParquetFile, Part, Profiler, QueryError, TableProfile, arrow_schema, columns_of,
};
use trueline_query::{infer, scan};

fn part(folder: &Path, name: &str, bytes: &[u8]) -> Part {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    Part { name: name.to_owned(), path, format: Format::of_name(name).unwrap() }
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn profile(parts: &[Part]) -> TableProfile {
    let schema = infer(parts).unwrap();
    let mut profiler = Profiler::new(&schema).unwrap();
    for batch in scan(parts.to_vec(), &schema, None).unwrap() {
        profiler.observe(&batch.unwrap()).unwrap();
    }
    profiler.profile()
}

const CSV: &[u8] = b"id,temp,when,who,ok,nothing\n\
1,39.5,2013-01-01T10:00:00Z,ann,true,\n\
2,NA,2013-01-01T11:00:00Z,bob,false,NA\n\
3,41,2013-01-01T12:00:00Z,ann,true,\n";

#[test]
fn a_csv_file_has_types_and_missing_values() {
    let folder = tempfile::tempdir().unwrap();
    let table = profile(&[part(folder.path(), "a.csv", CSV)]);
    let kinds: Vec<&str> = table.columns.iter().map(|c| c.column.kind.as_str()).collect();
    assert_eq!(kinds, ["int64", "float64", "timestamp[s]", "string", "bool", "string"]);
    let (temp, when, who) = (&table.columns[1], &table.columns[2], &table.columns[3]);
    assert_eq!((table.rows, temp.nulls, temp.mean), (3, 1, Some(40.25)));
    assert_eq!((table.columns[0].max.to_string(), temp.max.to_string()), ("3".to_owned(), "41.0".to_owned()));
    assert_eq!(when.max, "2013-01-01T12:00:00Z");
    assert_eq!(
        (who.distinct, who.frequent[0].value.as_str(), who.frequent[0].at_least),
        (Some(2.0), "ann", 2)
    );
    assert_eq!(table.columns[5].nulls, 3);
}

#[test]
fn the_same_rows_in_any_format_have_the_same_profile() {
    let folder = tempfile::tempdir().unwrap();
    let plain = part(folder.path(), "a.csv", CSV);
    let packed = part(folder.path(), "a.csv.gz", &gz(CSV));
    let schema = infer(std::slice::from_ref(&plain)).unwrap();
    let write = |name: &str| {
        let path = folder.path().join(name);
        let mut file = ParquetFile::begin(std::fs::File::create(&path).unwrap(), schema.clone()).unwrap();
        for batch in scan(vec![plain.clone()], &schema, None).unwrap() {
            file.append(&batch.unwrap()).unwrap();
        }
        assert_eq!(file.finish().unwrap().1, 3);
        Part { name: name.to_owned(), path, format: Format::Parquet }
    };
    let (parquet, again) = (write("a.parquet"), write("b.parquet"));
    assert_eq!(std::fs::read(&parquet.path).unwrap(), std::fs::read(&again.path).unwrap());
    let expected = profile(std::slice::from_ref(&plain));
    assert_eq!(profile(&[packed]), expected);
    assert_eq!(profile(&[parquet]), expected);
    assert_eq!(*arrow_schema(&columns_of(&schema)), *schema);
}

#[test]
fn types_hold_for_all_files_and_all_rows() {
    let folder = tempfile::tempdir().unwrap();
    let mut long = String::from("x,y\n");
    (0..20_000).for_each(|i| long.push_str(&format!("{i},1\n")));
    long.push_str("a word,1\n");
    let parts =
        [part(folder.path(), "1.csv", long.as_bytes()), part(folder.path(), "2.csv", b"x,y\n1,2.5\n")];
    let table = profile(&parts);
    let kinds: Vec<&str> = table.columns.iter().map(|c| c.column.kind.as_str()).collect();
    assert_eq!((table.rows, kinds), (20_002, vec!["string", "float64"]));
}

#[test]
fn columns_are_read_in_the_order_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let csv = part(folder.path(), "a.csv", CSV);
    let schema = infer(std::slice::from_ref(&csv)).unwrap();
    let wanted = ["who".to_owned(), "id".to_owned()];
    let batch = scan(vec![csv.clone()], &schema, Some(&wanted)).unwrap().next().unwrap().unwrap();
    let names: Vec<&str> = batch.schema_ref().fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!((names, batch.num_rows()), (vec!["who", "id"], 3));
    let missing = scan(vec![csv], &schema, Some(&["tmep".to_owned()])).err().unwrap();
    assert!(missing.to_string().contains("there are id, temp, when"), "{missing}");
}

#[test]
fn files_that_do_not_fit_or_are_no_tables_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let other = [part(folder.path(), "a.csv", b"x,y\n1,2\n"), part(folder.path(), "b.csv", b"x,z\n1,2\n")];
    let error = infer(&other).unwrap_err();
    assert!(matches!(&error, QueryError::Mismatch { file, .. } if file == "b.csv"), "{error}");
    for (name, bytes) in [
        ("t.parquet", b"PAR1 not really".as_slice()),
        ("empty.csv", b""),
        ("broken.csv.gz", b"\x1f\x8bnot gzip"),
        ("twice.csv", b"a,a\n1,2\n"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n"),
    ] {
        let bad = part(folder.path(), name, bytes);
        let error = infer(std::slice::from_ref(&bad)).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

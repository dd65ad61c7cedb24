//! A bucket of a real S3 server: what is put comes back, what breaks off leaves nothing, what goes wrong is told.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use std::convert::Infallible;
use trueline_blobs::{BlobError, Bucket, BucketEntry, Object};
use trueline_s3server::S3Server;

struct Place {
    server: Option<S3Server>,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = S3Server::start(folder.path()).unwrap();
        server.make_bucket("team").unwrap();
        Self { server: Some(server), folder }
    }

    fn bucket(&self, uri: &str, other: &[(&str, &str)]) -> Bucket {
        let variables = self.server.as_ref().unwrap().variables();
        let find = |name: &str| {
            let other = other.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
            other.or_else(|| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone()))
        };
        Bucket::open(uri, find).unwrap()
    }

    /// Files that the server keeps besides objects: parts of uploads under way.
    fn parts(&self) -> usize {
        let names = std::fs::read_dir(self.folder.path()).unwrap();
        names.filter(|name| name.as_ref().unwrap().file_name().to_string_lossy().contains("upload")).count()
    }
}

/// So many bytes in chunks of an odd size, which no part is a multiple of.
fn bytes_of(n: usize) -> Vec<u8> {
    (0..n).map(|i| u8::try_from((i * 31 + i / 251) % 256).unwrap()).collect()
}

fn chunks(bytes: &[u8]) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + use<> {
    let chunks: Vec<_> = bytes.chunks(65_521).map(|c| Ok(Bytes::copy_from_slice(c))).collect();
    futures::stream::iter(chunks)
}

async fn read(bucket: &Bucket, object: &Object, range: Option<std::ops::Range<u64>>) -> Vec<u8> {
    let parts: Vec<Bytes> = bucket.get(object, range).await.unwrap().try_collect().await.unwrap();
    parts.concat()
}

async fn put(bucket: &Bucket, path: &str, bytes: &[u8]) -> Object {
    bucket.put(path, chunks(bytes), u64::MAX, async |_| Ok(())).await.unwrap().object
}

#[tokio::test]
async fn small_and_large_objects_come_back_whole_and_in_ranges() {
    let place = Place::new();
    let bucket = place.bucket("s3://team/deep/er", &[]);
    for size in [0, 11, 8 << 20, (20 << 20) + 7] {
        let bytes = bytes_of(size);
        let mut begun = Vec::new();
        let stored = bucket.put("1/r/x", chunks(&bytes), u64::MAX, async |id| {
            begun.push(id);
            Ok(())
        });
        let stored = stored.await.unwrap();
        assert_eq!(begun.len(), usize::from(size >= 8 << 20), "{size}");
        assert_eq!(stored.object.size, size as u64);
        let found = bucket.find("1/r/x").await.unwrap().unwrap();
        assert_eq!(found, stored.object);
        assert_eq!(read(&bucket, &found, None).await, bytes);
        assert_eq!(std::fs::read(place.folder.path().join("team/deep/er/1/r/x")).unwrap(), bytes);
        if size > 100 {
            assert_eq!(read(&bucket, &found, Some(5..99)).await, bytes[5..99]);
        }
    }
    assert_eq!(bucket.find("1/r/y").await.unwrap(), None);
    assert_eq!(place.parts(), 0);
}

#[tokio::test]
async fn keys_are_the_paths_exactly_as_they_are() {
    let place = Place::new();
    let bucket = place.bucket("s3://team", &[]);
    for name in ["a b.txt", "ä/ü#1.txt", "50%.txt", "a+b&c=d?.txt", "[x]{y}~*.txt", "it's.txt"] {
        let object = put(&bucket, &format!("1/{name}"), name.as_bytes()).await;
        assert_eq!(std::fs::read(place.folder.path().join("team/1").join(name)).unwrap(), name.as_bytes());
        assert_eq!(read(&bucket, &object, None).await, name.as_bytes(), "{name}");
        let url = bucket.signed_read(&object.path, "attachment; filename=x").await.unwrap();
        assert_eq!(fetch(&url).await, (200, name.as_bytes().to_vec()), "{name}");
    }
    assert_eq!(bucket.below("1").await.unwrap().len(), 6);
    assert_eq!(bucket.remove("1").await.unwrap().len(), 6);
    assert!(bucket.list("", usize::MAX).await.unwrap().is_empty());
}

#[tokio::test]
async fn folders_of_more_objects_than_a_page_are_listed_whole_and_removed_whole() {
    let place = Place::new();
    let bucket = place.bucket("s3://team/x", &[]);
    let folder = place.folder.path().join("team/x/1/many");
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    for i in 0..2_100 {
        std::fs::write(folder.join(format!("{i:04}")), "x").unwrap();
    }
    std::fs::write(folder.join("sub/a"), "a").unwrap();
    std::fs::write(folder.join("../many-more"), "a").unwrap();
    let all = bucket.list("1/many", usize::MAX).await.unwrap();
    assert_eq!(all.len(), 2_101);
    assert!(all.is_sorted_by(|a, b| a.name() < b.name()));
    assert_eq!(all[2_100], BucketEntry::Folder("sub".to_owned()));
    assert_eq!(bucket.list("1/many", 10).await.unwrap().len(), 10);
    assert_eq!(bucket.list("1/many/0001", usize::MAX).await.unwrap(), []);
    assert_eq!(bucket.below("1/many").await.unwrap().len(), 2_101);
    assert_eq!(bucket.remove("1/many").await.unwrap().len(), 2_101);
    let names: Vec<_> =
        bucket.list("1", usize::MAX).await.unwrap().iter().map(|e| e.name().to_owned()).collect();
    assert_eq!(names, ["many-more"]);
    assert!(bucket.remove("1/none").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_upload_that_breaks_or_is_too_large_leaves_what_was_there() {
    let place = Place::new();
    let bucket = place.bucket("s3://team", &[]);
    put(&bucket, "x", b"before").await;
    let half = bytes_of(20 << 20);
    let broken = futures::stream::iter([Ok(Bytes::from(half.clone())), Err("gone")]);
    let failed = bucket.put("x", broken, u64::MAX, async |_| Ok(())).await.unwrap_err();
    assert!(matches!(failed, BlobError::Interrupted { received, .. } if received == 20 << 20));
    let failed = bucket.put("x", chunks(&half), 9 << 20, async |_| Ok(())).await.unwrap_err();
    assert!(matches!(failed, BlobError::TooLarge { .. }));
    let object = bucket.find("x").await.unwrap().unwrap();
    assert_eq!(read(&bucket, &object, None).await, b"before");
    // Both are given up in the background.
    let begun = std::time::Instant::now();
    while place.parts() > 0 {
        assert!(begun.elapsed().as_secs() < 20, "parts of uploads were left");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_client_sends_parts_and_reads_by_signed_addresses_alone() {
    let place = Place::new();
    let bucket = place.bucket("s3://team/f", &[]);
    let bytes = bytes_of((6 << 20) + 3);
    let upload = bucket.begin_signed("1/big file", 2).await.unwrap();
    let mut etags = Vec::new();
    for (url, part) in upload.urls.iter().zip(bytes.chunks(5 << 20)) {
        let answer = reqwest::Client::new().put(url).body(part.to_vec()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        etags.push(answer.headers()["etag"].to_str().unwrap().to_owned());
    }
    assert_eq!(bucket.find("1/big file").await.unwrap(), None);
    let forged = upload.urls[0].replace("partNumber=1", "partNumber=2");
    assert_eq!(reqwest::Client::new().put(forged).body("x").send().await.unwrap().status(), 403);
    let made = bucket.complete("1/big file", &upload.id, etags).await.unwrap();
    assert_eq!(made.size, bytes.len() as u64);
    assert_eq!(read(&bucket, &made, None).await, bytes);
    let given_up = bucket.begin_signed("1/never", 1).await.unwrap();
    reqwest::Client::new().put(&given_up.urls[0]).body("x").send().await.unwrap();
    bucket.abort("1/never", &given_up.id).await.unwrap();
    assert_eq!(place.parts(), 0);
}

async fn fetch(url: &str) -> (u16, Vec<u8>) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}

#[tokio::test]
async fn what_goes_wrong_is_told_with_what_to_do() {
    let mut place = Place::new();
    let away = place.bucket("s3://team", &[]);
    place.server = None;
    let failed = away.put("x", chunks(b"x"), 9, async |_| Ok(())).await.unwrap_err();
    assert!(matches!(failed, BlobError::Away { .. }), "{failed:?}");
    assert!(failed.to_string().contains("can't be reached"), "{failed}");
    let again = Place::new();
    let failed = again.bucket("s3://team", &[("AWS_SECRET_ACCESS_KEY", "wrong")]);
    let refusals = [
        failed.put("x", chunks(b"x"), 9, async |_| Ok(())).await.unwrap_err(),
        failed.list("", usize::MAX).await.unwrap_err(),
        failed.below("1").await.unwrap_err(),
    ];
    for failed in refusals {
        assert!(matches!(&failed, BlobError::Refused { bucket, .. } if bucket == "team"), "{failed:?}");
    }
    let failed = again.bucket("s3://nobody/x", &[]);
    let failed = failed.put("x", chunks(b"x"), 9, async |_| Ok(())).await.unwrap_err();
    assert!(matches!(&failed, BlobError::NoBucket(bucket) if bucket == "nobody"), "{failed:?}");
    assert!(failed.to_string().contains("make it"), "{failed}");
}

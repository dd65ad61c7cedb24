//! Signed notes, key strings and checkpoints, against the published key, text and signature of Go's sumdb/note.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use trueline_tlog::note::{KeyId, Note};
use trueline_tlog::{Checkpoint, CheckpointError, Hash, NoteError, SignerKey, VerifierKey};

const VERIFIER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const SIGNER: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
const SIGNED: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\n\
    \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn signer(name: &str, seed: u8) -> SignerKey {
    SignerKey::from_seed(name, &[seed; 32]).unwrap()
}

#[test]
fn the_published_key_gives_the_published_signature() {
    let signer: SignerKey = SIGNER.parse().unwrap();
    assert_eq!(signer.to_private_string(), SIGNER);
    assert_eq!(signer.verifier().to_string(), VERIFIER);
    assert_eq!(Note::sign(TEXT, &[&signer]).unwrap().to_string(), SIGNED);

    let verifier: VerifierKey = VERIFIER.parse().unwrap();
    assert_eq!(verifier.id(), KeyId([0xc7, 0x4f, 0x20, 0xa3]));
    assert_eq!(Note::open(SIGNED.as_bytes(), &[verifier]).unwrap().text(), TEXT);
    assert!(!format!("{signer:?}").contains("YEKFALVFGyNhPJEMzD1"));
}

#[test]
fn mangled_key_strings_are_refused() {
    fn refused<K: std::str::FromStr>(text: &str) {
        assert!(text.parse::<K>().is_err(), "accepted {text}");
    }
    for key in [VERIFIER, SIGNER] {
        for start in 0..key.len() {
            for end in start + 1..=key.len() {
                if (start, end) != (0, key.len()) {
                    refused::<VerifierKey>(&key[start..end]);
                    refused::<SignerKey>(&key[start..end]);
                }
            }
        }
        for position in 0..key.len() {
            let mut mangled = key.as_bytes().to_vec();
            mangled[position] += 1;
            refused::<VerifierKey>(str::from_utf8(&mangled).unwrap());
            refused::<SignerKey>(str::from_utf8(&mangled).unwrap());
        }
    }
    // Wrong length and unknown type, with key ids that fit them.
    refused::<VerifierKey>("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==");
    refused::<VerifierKey>("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
    assert!(SignerKey::from_seed("two words", &[1; 32]).is_err());
    assert!(SignerKey::from_seed("a+b", &[1; 32]).is_err());
    assert!(SignerKey::from_seed("", &[1; 32]).is_err());
}

#[test]
fn signatures_of_strangers_are_ignored_but_one_must_be_trusted() {
    let (log, witness) = (signer("log.example", 1), signer("witness.example", 2));
    let note = Note::sign("text\n\nwith a blank line\n", &[&witness, &log]).unwrap().to_string();
    let opened = Note::open(note.as_bytes(), &[log.verifier().clone()]).unwrap();
    assert_eq!(opened.text(), "text\n\nwith a blank line\n");
    assert_eq!(opened.signatures().len(), 2);
    assert_eq!(opened.to_string(), note);

    // The same name with another key is a stranger too.
    let namesake = signer("log.example", 3);
    let refusal = Note::open(note.as_bytes(), &[namesake.verifier().clone()]).unwrap_err();
    assert!(matches!(&refusal, NoteError::NoTrustedSignature { signers } if signers.len() == 2), "{refusal}");
    assert!(Note::open(note.as_bytes(), &[]).is_err());
}

#[test]
fn a_wrong_signature_by_a_trusted_key_spoils_the_note() {
    let (log, witness) = (signer("log.example", 1), signer("witness.example", 2));
    let note = Note::sign("text\n", &[&witness, &log]).unwrap().to_string();
    let other = Note::sign("else\n", &[&witness]).unwrap().to_string();
    let spoiled = note.replace(note.lines().nth(2).unwrap(), other.lines().nth(2).unwrap());
    let trusted = [log.verifier().clone(), witness.verifier().clone()];
    assert!(Note::open(note.as_bytes(), &trusted).is_ok());
    assert_eq!(
        Note::open(spoiled.as_bytes(), &trusted),
        Err(NoteError::BadSignature { name: "witness.example".into() })
    );
}

#[test]
fn malformed_notes_are_refused() {
    let line = SIGNED.lines().nth(3).unwrap();
    let many = format!("text\n\n{}", format!("{line}\n").repeat(101));
    for malformed in [
        "",
        "text\n",
        "text\n\n",
        &SIGNED[..SIGNED.len() - 1],
        &SIGNED.replace("\u{2014} ", "- "),
        &SIGNED.replace("\u{2014} ", "\u{2014}  "),
        &SIGNED.replace("Neumann x08", "Neumann  x08"),
        &SIGNED.replace("PeterNeumann", "Peter+Neumann"),
        &SIGNED.replace("PeterNeumann", "Peter\u{a0}Neumann"),
        &SIGNED.replace("JnAM=", "JnAM"),
        &SIGNED.replace("JnAM=", "JnAN="),
        &SIGNED.replace("your problem,", "your\tproblem,"),
        &SIGNED.replace('\n', "\r\n"),
        &format!("{SIGNED}\n"),
        &format!("{SIGNED}more\n"),
        "text\n\n\u{2014} short x08gow==\n",
        &many,
    ] {
        let refusal = Note::parse_unverified(malformed.as_bytes());
        assert!(matches!(refusal, Err(NoteError::Malformed(_))), "{malformed:?} gave {refusal:?}");
    }
    assert!(Note::parse_unverified(&[SIGNED.as_bytes(), b"\xff"].concat()).is_err());
    assert!(Note::parse_unverified(&vec![b'\n'; 1_000_001]).is_err());
    assert!(Note::sign("no newline", &[&signer("a", 1)]).is_err());
    assert!(Note::sign("tab\t\n", &[&signer("a", 1)]).is_err());
    assert!(Note::sign("nobody\n", &[]).is_err());
}

#[test]
fn a_checkpoint_is_signed_and_opened() {
    let log = signer("example.com/log", 1);
    let checkpoint = Checkpoint::new("example.com/log", 20_852_163, Hash::EMPTY_ROOT);
    let signed = checkpoint.sign(&[&log]).unwrap().to_string();
    assert!(
        signed.starts_with(
            "example.com/log\n20852163\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\u{2014} "
        )
    );
    assert_eq!(Checkpoint::open(signed.as_bytes(), log.verifier()), Ok(checkpoint));
}

#[test]
fn a_checkpoint_of_another_log_is_refused() {
    let log = signer("example.com/log", 1);
    let signed = Checkpoint::new("example.com/other", 0, Hash::EMPTY_ROOT).sign(&[&log]).unwrap().to_string();
    let refusal = Checkpoint::open(signed.as_bytes(), log.verifier());
    assert!(matches!(refusal, Err(CheckpointError::Origin { .. })), "{refusal:?}");
    assert!(Checkpoint::open_any_origin(signed.as_bytes(), &[log.verifier().clone()]).is_ok());
}

#[test]
fn extension_lines_are_kept() {
    let mut checkpoint = Checkpoint::new("o", 1, Hash::EMPTY_ROOT);
    checkpoint.extensions = vec!["one".into(), "two".into()];
    let text = checkpoint.to_string();
    assert_eq!(text, "o\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\none\ntwo\n");
    assert_eq!(text.parse(), Ok(checkpoint));
}

#[test]
fn malformed_checkpoints_are_refused() {
    let root = Hash::EMPTY_ROOT;
    for text in [
        "".to_owned(),
        "o\n1\n".to_owned(),
        format!("o\n1\n{root}"),
        format!("\n1\n{root}\n"),
        format!("o\n01\n{root}\n"),
        format!("o\n+1\n{root}\n"),
        format!("o\n-1\n{root}\n"),
        format!("o\n 1\n{root}\n"),
        format!("o\n\n{root}\n"),
        format!("o\n18446744073709551616\n{root}\n"),
        format!("o\n1\n{root}=\n"),
        format!("o\n1\n{root:x}\n"),
        "o\n1\nAAAA\n".to_owned(),
        format!("o\n1\n{root}\n\n"),
        format!("o\n1\n{root}\n\next\n"),
    ] {
        assert!(text.parse::<Checkpoint>().is_err(), "accepted {text:?}");
    }
    for origin in ["", "two\nlines", "tab\t"] {
        assert!(Checkpoint::new(origin, 1, root).sign(&[&signer("a", 1)]).is_err());
    }
}

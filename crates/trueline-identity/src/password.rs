//! Passwords as they are kept: Argon2id for those set here; those that MLflow set (werkzeug's scrypt and PBKDF2) are
//! verified, so that imported users keep theirs.

use crate::IdentityError;
use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use ring::pbkdf2;
use std::num::NonZeroU32;

/// The longest password in bytes; longer ones would be a way to keep the server busy.
const LONGEST: usize = 1024;
/// Bounds on what a stored hash may ask for, so that a row can't take the server's memory: 64 MiB, ten million rounds.
const MOST_SCRYPT_COST: u8 = 16;
const MOST_ROUNDS: u32 = 10_000_000;

/// The hash of a password, in PHC's form. It is slow on purpose.
///
/// # Errors
/// [`IdentityError::Invalid`] for an empty or too long password.
pub fn hash_password(password: &str, salt: [u8; 16]) -> Result<String, IdentityError> {
    if password.is_empty() || password.len() > LONGEST {
        return Err(IdentityError::Invalid(format!("A password has 1 to {LONGEST} bytes.")));
    }
    let failed =
        |e: argon2::password_hash::Error| IdentityError::Invalid(format!("This password can't be kept: {e}"));
    let salt = SaltString::encode_b64(&salt).map_err(failed)?;
    Ok(Argon2::default().hash_password(password.as_bytes(), &salt).map_err(failed)?.to_string())
}

/// Whether a password is the one that was kept. It is slow on purpose.
#[must_use]
pub fn verify_password(stored: &str, password: &str) -> bool {
    if password.len() > LONGEST {
        return false;
    }
    if stored.starts_with("$argon2") {
        let Ok(parsed) = PasswordHash::new(stored) else { return false };
        return Argon2::default().verify_password(password.as_bytes(), &parsed).is_ok();
    }
    werkzeug(stored, password).unwrap_or(false)
}

/// `method$salt$hex`, the form of werkzeug (`werkzeug/security.py`).
fn werkzeug(stored: &str, password: &str) -> Option<bool> {
    let mut parts = stored.splitn(3, '$');
    let (method, salt, hash) = (parts.next()?, parts.next()?.as_bytes(), hex::decode(parts.next()?).ok()?);
    let mut words = method.split(':');
    match words.next()? {
        "scrypt" => {
            let number = |word: Option<&str>, usual: u32| word.map_or(Some(usual), |w| w.parse().ok());
            let n = number(words.next(), 32_768)?;
            let (r, p) = (number(words.next(), 8)?, number(words.next(), 1)?);
            let cost =
                u8::try_from(n.checked_ilog2()?).ok().filter(|c| *c <= MOST_SCRYPT_COST && n == 1 << c)?;
            if r > 16 || p > 4 || hash.is_empty() {
                return None;
            }
            let params = scrypt::Params::new(cost, r, p, hash.len()).ok()?;
            let mut computed = vec![0; hash.len()];
            scrypt::scrypt(password.as_bytes(), salt, &params, &mut computed).ok()?;
            Some(equal(&computed, &hash))
        }
        "pbkdf2" => {
            let algorithm = match words.next()? {
                "sha256" => pbkdf2::PBKDF2_HMAC_SHA256,
                "sha512" => pbkdf2::PBKDF2_HMAC_SHA512,
                _ => return None,
            };
            let rounds: NonZeroU32 = words.next().unwrap_or("1000000").parse().ok()?;
            (rounds.get() <= MOST_ROUNDS)
                .then(|| pbkdf2::verify(algorithm, rounds, salt, password.as_bytes(), &hash).is_ok())
        }
        _ => None,
    }
}

/// In a time that does not tell where they differ.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_again_and_another_is_not() {
        let kept = hash_password("correct horse", [7; 16]).unwrap();
        assert!(kept.starts_with("$argon2id$"), "{kept}");
        assert!(verify_password(&kept, "correct horse"));
        assert!(!verify_password(&kept, "correct horsf"));
        assert_ne!(kept, hash_password("correct horse", [8; 16]).unwrap());
    }

    // Made with werkzeug 3: generate_password_hash("password1234", method) with a salt of "saltsaltsaltsalt".
    const SCRYPT: &str = "scrypt:32768:8:1$saltsaltsaltsalt$01c99158f4061e5d94a2ded94b2ce7c8b29726ce7d60577a453412caf80e67405ce4558d7c4540707281b03ffea337e83e4b706770cf4c7fe8aa940a46f7199c";
    const PBKDF2: &str = "pbkdf2:sha256:600000$saltsaltsaltsalt$f2408225c4ef481043b0b081895b9d1b28b2d71ffa677dd82d7ea5a1f0f4b946";

    #[test]
    fn passwords_that_mlflow_set_are_verified() {
        for kept in [SCRYPT, PBKDF2] {
            assert!(verify_password(kept, "password1234"), "{kept}");
            assert!(!verify_password(kept, "password1235"), "{kept}");
        }
    }

    #[test]
    fn what_is_no_hash_verifies_nothing() {
        for kept in [
            "",
            "password1234",
            "plain$$70",
            "scrypt:1:1:1$s$",
            "scrypt:99999999:8:1$s$00",
            "pbkdf2:md5:1$s$00",
            "$argon2id$x",
        ] {
            assert!(!verify_password(kept, "password1234"), "{kept}");
        }
        assert!(hash_password("", [0; 16]).is_err());
        assert!(hash_password(&"x".repeat(1025), [0; 16]).is_err());
    }
}

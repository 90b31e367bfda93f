//! The header that says whose file asks, where no message does.
//!
//! A header and not a part of the address: addresses stand in the logs of whatever lies between, and
//! accounts are often e-mail addresses.

use super::percent;

/// Names the account of the asking file, percent-encoded.
pub const ACCOUNT_HEADER: &str = "driftline-account";

/// What [`ACCOUNT_HEADER`] holds is no account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected one header Driftline-Account, percent-encoded")]
pub struct InvalidAccountHeader;

/// What [`ACCOUNT_HEADER`] holds for `account`.
pub fn account_to_header(account: &str) -> String {
    percent::encode(account)
}

/// The account that the values of [`ACCOUNT_HEADER`] name; `None` if they name none.
///
/// # Errors
/// Several values, or one that is not percent-encoded UTF-8.
pub fn account_of_headers<'a>(
    values: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Option<String>, InvalidAccountHeader> {
    let mut values = values.into_iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(InvalidAccountHeader);
    }
    let account = std::str::from_utf8(value).ok().and_then(percent::decode);
    let account = account.ok_or(InvalidAccountHeader)?;
    Ok(Some(account).filter(|account| !account.is_empty()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn named(values: &[&str]) -> Result<Option<String>, InvalidAccountHeader> {
        account_of_headers(values.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn a_header_brings_any_account_back() {
        for account in [
            "ada",
            "ana+bo@example.org",
            "Zoë %41 \u{1F426}",
            "a\n\0b",
            "100%",
        ] {
            let value = account_to_header(account);
            assert!(value.bytes().all(|byte| byte.is_ascii_graphic()), "{value}");
            assert_eq!(named(&[&value]), Ok(Some(account.to_owned())));
        }
    }

    #[test]
    fn a_hand_may_write_it_plainly() {
        let plain = "ana+bo@example.org";
        assert_eq!(named(&[plain]), Ok(Some(plain.to_owned())));
        assert_eq!(named(&["Zoë"]), Ok(Some("Zoë".to_owned())));
    }

    #[test]
    fn none_is_named_by_none_and_by_an_empty_one() {
        assert_eq!(named(&[]), Ok(None));
        assert_eq!(named(&[""]), Ok(None));
    }

    #[test]
    fn half_an_account_is_refused() {
        for values in [&["a", "a"][..], &["%"], &["%4"], &["%zz"], &["%ff"]] {
            assert_eq!(named(values), Err(InvalidAccountHeader), "{values:?}");
        }
        assert_eq!(account_of_headers([&[0xff][..]]), Err(InvalidAccountHeader));
    }
}

//! How a token goes into a request.

use crate::error::{Error, Fault, Retry};

/// Where the token stands in the template.
const TOKEN: &str = "{token}";

/// A header and what it holds, with `{token}` in the token's place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthTemplate {
    header: String,
    value: String,
}

/// `Authorization: Bearer {token}`.
impl Default for AuthTemplate {
    fn default() -> AuthTemplate {
        AuthTemplate {
            header: "authorization".to_owned(),
            value: "Bearer {token}".to_owned(),
        }
    }
}

impl AuthTemplate {
    /// The header `header` holding `value`, in which `{token}` stands for the token.
    ///
    /// # Errors
    /// `invalid_auth_template`: no name of a header, a value without `{token}` or with two, or one
    /// that no header can hold.
    pub fn new(header: &str, value: &str) -> crate::Result<AuthTemplate> {
        let invalid = |what: &str| {
            Error::other(
                "invalid_auth_template",
                Fault::App,
                Retry::No,
                what.to_owned(),
            )
        };
        if http::HeaderName::from_bytes(header.as_bytes()).is_err() {
            return Err(invalid("the auth template's header is no header's name"));
        }
        if value.matches(TOKEN).count() != 1 {
            return Err(invalid("the auth template must name {token} once"));
        }
        if http::HeaderValue::from_str(value).is_err() {
            return Err(invalid("the auth template is nothing a header can hold"));
        }
        Ok(AuthTemplate {
            header: header.to_ascii_lowercase(),
            value: value.to_owned(),
        })
    }

    /// Whether a header can hold `token`.
    pub(crate) fn takes(&self, token: &str) -> bool {
        http::HeaderValue::from_str(&self.fill(token).1).is_ok()
    }

    /// The header for `token`.
    pub(crate) fn fill(&self, token: &str) -> (String, String) {
        (self.header.clone(), self.value.replace(TOKEN, token))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_where_the_template_says() {
        let filled = |template: AuthTemplate| template.fill("t.o.k");
        let owned = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            filled(AuthTemplate::default()),
            owned("authorization", "Bearer t.o.k")
        );
        assert_eq!(
            filled(AuthTemplate::new("X-Api-Key", "{token}").unwrap()),
            owned("x-api-key", "t.o.k")
        );
    }

    #[test]
    fn a_template_that_cannot_work_is_refused_at_once() {
        for (header, value) in [
            ("", "{token}"),
            ("a b", "{token}"),
            ("x", "Bearer"),
            ("x", "{token}{token}"),
            ("x", "{token}\r\nother: 1"),
        ] {
            let error = AuthTemplate::new(header, value).unwrap_err();
            assert_eq!(
                error.code(),
                "invalid_auth_template",
                "{header:?} {value:?}"
            );
        }
    }
}

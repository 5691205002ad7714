//! Proving who one is: the ip credential, digest, auth and SASL packets, and whoAmI.

use crate::connection::AuthPolicy;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::acl::{Credential, Identity};
use engine::error_code::ErrorCode;
use engine::jute::{DecodeError, Reader, Writer};
use sha1::Digest;
use std::borrow::Cow;
use std::net::IpAddr;
use tuning::config::DigestAlgorithm;

/// The hash of `bytes` by the algorithm of the digest scheme.
pub fn hash(algorithm: DigestAlgorithm, bytes: &[u8]) -> Vec<u8> {
    fn with<D: Digest>(bytes: &[u8]) -> Vec<u8> {
        D::digest(bytes).to_vec()
    }
    match algorithm {
        DigestAlgorithm::Sha1 => with::<sha1::Sha1>(bytes),
        DigestAlgorithm::Sha224 => with::<sha2::Sha224>(bytes),
        DigestAlgorithm::Sha256 => with::<sha2::Sha256>(bytes),
        DigestAlgorithm::Sha384 => with::<sha2::Sha384>(bytes),
        DigestAlgorithm::Sha512 => with::<sha2::Sha512>(bytes),
        DigestAlgorithm::Sha512Of224 => with::<sha2::Sha512_224>(bytes),
        DigestAlgorithm::Sha512Of256 => with::<sha2::Sha512_256>(bytes),
        DigestAlgorithm::Sha3Of224 => with::<sha3::Sha3_224>(bytes),
        DigestAlgorithm::Sha3Of256 => with::<sha3::Sha3_256>(bytes),
        DigestAlgorithm::Sha3Of384 => with::<sha3::Sha3_384>(bytes),
        DigestAlgorithm::Sha3Of512 => with::<sha3::Sha3_512>(bytes),
    }
}

/// The digest scheme's id for `user:password`: `user:BASE64(HASH(user:password))`. Without a colon the whole text is
/// the user (`DigestAuthenticationProvider.generateDigest`).
pub fn digest_id(algorithm: DigestAlgorithm, user_and_password: &str) -> String {
    let user = user_and_password.split(':').next().unwrap_or_default();
    format!("{user}:{}", STANDARD.encode(hash(algorithm, user_and_password.as_bytes())))
}

/// The identity of a connection that has just been accepted: its address, as Java writes it.
pub fn identity_at_accept(address: IpAddr, policy: &AuthPolicy) -> Identity {
    let mut identity = if policy.skip_acl { Identity::exempt() } else { Identity::anonymous() };
    identity.add("ip", &java_address(address));
    identity
}

/// `InetAddress.getHostAddress`: IPv4-mapped addresses as dotted IPv4, IPv6 uncompressed and without leading zeros.
pub fn java_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let groups: Vec<String> = address.segments().iter().map(|group| format!("{group:x}")).collect();
            groups.join(":")
        }
    }
}

/// `AuthPacket`, without the type that nobody looks at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthPacket<'a> {
    /// The scheme; `None` is null.
    pub scheme: Option<Cow<'a, str>>,
    /// What is to be proved; `None` is null.
    pub auth: Option<&'a [u8]>,
}

impl<'a> AuthPacket<'a> {
    /// Reads the record.
    pub fn decode(r: &mut Reader<'a>) -> Result<AuthPacket<'a>, DecodeError> {
        r.int()?;
        Ok(AuthPacket { scheme: r.string()?, auth: r.buffer()? })
    }

    /// The identity that `before` becomes by this packet, or AUTHFAILED, behind which the connection is closed. Schemes
    /// that no provider is registered for fail, and so do those that only an ACL may name.
    pub fn apply(&self, before: &Identity, address: IpAddr, policy: &AuthPolicy) -> Result<Identity, ErrorCode> {
        let mut identity = before.clone();
        match (self.scheme.as_deref(), policy.digest) {
            (Some("ip"), _) => identity.add("ip", &java_address(address)),
            (Some("digest"), Some(algorithm)) => {
                let text = String::from_utf8_lossy(self.auth.ok_or(ErrorCode::AuthFailed)?);
                let id = digest_id(algorithm, &text);
                if policy.super_digest.as_deref() == Some(&*id) {
                    identity.add("super", "");
                }
                identity.add("digest", &id);
            }
            _ => return Err(ErrorCode::AuthFailed),
        }
        Ok(identity)
    }
}

/// Whether an identity has what the policy enforces.
pub fn satisfies(identity: &Identity, policy: &AuthPolicy) -> bool {
    policy.enforced_schemes.is_empty()
        || identity.credentials().iter().any(|credential| policy.enforced_schemes.contains(&credential.scheme))
}

/// Appends `WhoAmIResponse`: scheme and user of every credential.
pub fn encode_who_am_i(identity: &Identity, out: &mut Vec<u8>) {
    let mut w = Writer::new(out);
    w.count(Some(identity.credentials().len()));
    for credential in identity.credentials() {
        w.string(&credential.scheme);
        w.string(user_of(credential));
    }
}

/// Appends `SetSASLResponse` with a null token: SASL is not configured, and the client goes on without.
pub fn encode_sasl_unconfigured(out: &mut Vec<u8>) {
    Writer::new(out).buffer(None);
}

/// `AuthUtil.getUser`: the provider's user part, empty for a scheme without provider.
fn user_of(credential: &Credential) -> &str {
    match &*credential.scheme {
        "digest" => credential.id.split(':').next().unwrap_or_default(),
        "super" => "",
        _ => &credential.id,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn packet<'a>(scheme: &'a str, auth: Option<&'a [u8]>) -> AuthPacket<'a> {
        AuthPacket { scheme: Some(scheme.into()), auth }
    }

    #[test]
    fn digests_match_the_reference_server() {
        assert_eq!(digest_id(DigestAlgorithm::Sha1, "bob:pw"), "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
        assert_eq!(digest_id(DigestAlgorithm::Sha1, "super:test"), "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        assert!(digest_id(DigestAlgorithm::Sha3Of256, "nocolon").starts_with("nocolon:"));
        assert_eq!(hash(DigestAlgorithm::Sha512Of224, b"").len(), 28);
    }

    #[test]
    fn the_super_user_gets_two_credentials() {
        let policy =
            AuthPolicy { super_digest: Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".into()), ..AuthPolicy::default() };
        let before = identity_at_accept(LOCAL, &policy);
        let after = packet("digest", Some(b"super:test")).apply(&before, LOCAL, &policy).unwrap();
        assert!(after.bypasses());
        assert_eq!(after.credentials().len(), 3);
        let mut body = Vec::new();
        encode_who_am_i(&after, &mut body);
        let mut r = Reader::new(&body);
        assert_eq!(r.count().unwrap(), Some(3));
        let mut shown = Vec::new();
        for _ in 0..3 {
            shown.push((r.string().unwrap().unwrap().into_owned(), r.string().unwrap().unwrap().into_owned()));
        }
        let expected = [("ip", "127.0.0.1"), ("super", ""), ("digest", "super")];
        assert_eq!(shown, expected.map(|(scheme, user)| (scheme.to_owned(), user.to_owned())));
    }

    #[test]
    fn what_nobody_vouches_for_fails() {
        let policy = AuthPolicy::default();
        let before = identity_at_accept(LOCAL, &policy);
        for scheme in ["world", "super", "sasl", "auth", "nosuch"] {
            assert_eq!(packet(scheme, Some(b"x")).apply(&before, LOCAL, &policy), Err(ErrorCode::AuthFailed));
        }
        assert_eq!(packet("digest", None).apply(&before, LOCAL, &policy), Err(ErrorCode::AuthFailed));
        assert_eq!(AuthPacket { scheme: None, auth: None }.apply(&before, LOCAL, &policy), Err(ErrorCode::AuthFailed));
        assert_eq!(packet("ip", None).apply(&before, LOCAL, &policy).as_ref(), Ok(&before));
        let off = AuthPolicy { digest: None, ..policy };
        assert_eq!(packet("digest", Some(b"a:b")).apply(&before, LOCAL, &off), Err(ErrorCode::AuthFailed));
    }

    #[test]
    fn addresses_are_written_as_java_does() {
        assert_eq!(java_address(IpAddr::V6(Ipv6Addr::LOCALHOST)), "0:0:0:0:0:0:0:1");
        assert_eq!(java_address(IpAddr::V6(Ipv4Addr::new(10, 0, 0, 7).to_ipv6_mapped())), "10.0.0.7");
        assert_eq!(java_address("2001:db8::ff".parse().unwrap()), "2001:db8:0:0:0:0:0:ff");
    }

    #[test]
    fn enforcement_asks_for_one_of_the_schemes() {
        let policy = AuthPolicy { enforced_schemes: vec!["digest".into()], ..AuthPolicy::default() };
        let before = identity_at_accept(LOCAL, &policy);
        assert!(!satisfies(&before, &policy));
        let after = packet("digest", Some(b"a:b")).apply(&before, LOCAL, &policy).unwrap();
        assert!(satisfies(&after, &policy));
        assert!(satisfies(&before, &AuthPolicy { enforced_schemes: vec!["ip".into()], ..AuthPolicy::default() }));
    }
}

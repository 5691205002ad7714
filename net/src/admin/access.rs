//! Who may ask for a guarded command: whoever shows, in the header `Authorization`, that they have every permission that
//! the ACL of "/" gives (`Commands.handleAuthentication`, `handleAuthorization`).

use crate::connection::AuthPolicy;
use crate::proto::auth::{AuthPacket, identity_at_accept};
use engine::acl::{AclList, Identity, permits, perms};
use hyper::StatusCode;
use std::net::IpAddr;

/// Why somebody may not: the status and the error.
pub type Denial = (StatusCode, &'static str);

const MISSING: Denial = (StatusCode::UNAUTHORIZED, "Auth info is missing for the command");
const UNPROVEN: Denial = (StatusCode::UNAUTHORIZED, "Not authenticated");
const FORBIDDEN: Denial = (StatusCode::FORBIDDEN, "Not authorized");

/// Looks at `<scheme> [<credential>]`, sent from this address.
///
/// # Errors
/// The denial.
pub fn check(header: Option<&[u8]>, address: IpAddr, policy: &AuthPolicy, root: &AclList) -> Result<(), Denial> {
    let header = header.ok_or(MISSING)?;
    let mut words = header.split(|byte| *byte == b' ');
    let (scheme, credential) = (words.next().unwrap_or_default(), words.next());
    if words.next().is_some() {
        return Err(UNPROVEN);
    }
    let packet = AuthPacket { scheme: Some(String::from_utf8_lossy(scheme)), auth: credential };
    // Only what the header shows counts, not the address that a client connection would have been given.
    let before = if policy.skip_acl { identity_at_accept(address, policy) } else { Identity::anonymous() };
    let identity = packet.apply(&before, address, policy).map_err(|_| UNPROVEN)?;
    let all = [perms::READ, perms::WRITE, perms::CREATE, perms::DELETE, perms::ADMIN];
    if all.into_iter().all(|perm| permits(root, perm, &identity)) { Ok(()) } else { Err(FORBIDDEN) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::auth::digest_id;
    use engine::acl::Acl;
    use std::net::Ipv4Addr;

    const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));

    fn ask(header: Option<&str>, root: &[Acl]) -> Result<(), Denial> {
        let algorithm = tuning::config::DigestAlgorithm::default();
        let policy = AuthPolicy { super_digest: Some(digest_id(algorithm, "super:s").into()), ..Default::default() };
        check(header.map(str::as_bytes), ADDRESS, &policy, &root.into())
    }

    #[test]
    fn the_header_must_prove_something() {
        let open = [Acl::world(perms::ALL)];
        assert_eq!(ask(None, &open), Err(MISSING));
        for wrong in ["", "sasl x", "digest", "digest a b", "Digest a:b"] {
            assert_eq!(ask(Some(wrong), &open), Err(UNPROVEN), "{wrong}");
        }
        for right in ["digest joe:pw", "ip"] {
            assert_eq!(ask(Some(right), &open), Ok(()), "{right}");
        }
    }

    #[test]
    fn every_permission_on_the_root_is_wanted() {
        let joe = digest_id(tuning::config::DigestAlgorithm::default(), "joe:pw");
        let all = [Acl::world(perms::READ), Acl::new(perms::ALL, "digest", &joe)];
        assert_eq!(ask(Some("digest joe:pw"), &all), Ok(()));
        assert_eq!(ask(Some("digest joe:other"), &all), Err(FORBIDDEN));
        assert_eq!(ask(Some("digest super:s"), &all), Ok(()));
        let most = [Acl::new(perms::ALL & !perms::ADMIN, "ip", "10.0.0.0/8")];
        assert_eq!(ask(Some("ip"), &most), Err(FORBIDDEN));
        assert_eq!(ask(Some("ip"), &[Acl::new(perms::ALL, "ip", "10.0.0.0/8")]), Ok(()));
        assert_eq!(ask(Some("ip"), &[Acl::new(perms::ALL, "ip", "10.0.0.8")]), Err(FORBIDDEN));
    }
}

//! The rights of callers on devices.

use std::sync::Arc;

use shared::devices::DeviceId;
use shared::kafka::ids::EventId;

use super::config::DeviceBinding;
use super::{DEVICE_NOT_ALLOWED, subject};
use crate::auth::Caller;
use crate::http::problem::{Code, Problem};
use crate::http::subject::About;

/// The roles that a token may have; other roles are ignored.
mod role {
    /// Sends events of its devices, reads their resources.
    pub(super) const DEVICE: &str = "device";
    /// Reads every resource.
    pub(super) const USER: &str = "user";
    /// Sends events of every device, and reads everything.
    pub(super) const ADMIN: &str = "admin";
}

/// All of them.
pub(super) const ROLES: &[&str] = &[role::DEVICE, role::USER, role::ADMIN];

/// The name here of the claim with the devices of a `device` token; where it is, is a setting.
pub(super) const CLAIM: &str = "device_id";

/// The roles that may send events of every device.
pub(super) const WRITERS: &[&str] = &[role::ADMIN];
/// The roles that may read every device, and histories: a device may not read a history, not even its own.
pub(super) const READERS: &[&str] = &[role::ADMIN, role::USER];

/// The rights of callers.
#[derive(Debug, Clone)]
pub(super) struct Rights {
    /// The policy for `device` tokens without the claim.
    pub binding: DeviceBinding,
    /// What callers know as the claim.
    pub claim: Arc<str>,
}

impl Rights {
    /// Requires one of the roles that are not bound to devices, or the role `device` and the claim that the policy
    /// demands.
    pub(super) fn admit(&self, caller: &Caller, unbound: &[&str]) -> Result<(), Problem> {
        if caller.has_any(unbound) {
            return Ok(());
        }
        caller.needs_any(&[role::DEVICE])?;
        if caller.bound_to(CLAIM).is_none() && self.binding == DeviceBinding::Required {
            let detail = format!("a device's token must name its devices in the claim {}", self.claim);
            return Err(Problem::new(Code::FORBIDDEN, detail));
        }
        Ok(())
    }
}

/// Refuses devices other than the token's, unless the caller has one of the roles that are not bound to devices.
pub(super) fn allow(
    caller: &Caller,
    unbound: &[&str],
    device: &DeviceId,
    event: Option<&EventId>,
) -> Result<(), Problem> {
    match caller.bound_to(CLAIM) {
        Some(named) if !caller.has_any(unbound) && !named.iter().any(|name| name == device.as_str()) => {
            let about = About { subject: Some(subject(device)), event_id: event.cloned() };
            Err(Problem::new(DEVICE_NOT_ALLOWED, "the token does not name this device").logged_about(about))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(roles: &[&str], devices: Option<&[&str]>) -> Caller {
        let own = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        let bound = devices.map(|devices| (CLAIM, own(devices))).into_iter().collect();
        Caller { subject: "s".into(), is_anonymous: false, roles: own(roles), bound }
    }

    #[test]
    fn a_device_is_bound_to_its_devices_and_nobody_else_is() {
        let (mine, other): (DeviceId, DeviceId) = ("mine".parse().unwrap(), "other".parse().unwrap());
        let writes = |caller: &Caller, device| allow(caller, WRITERS, device, None).map_err(|problem| problem.code);
        let reads = |caller: &Caller, device| allow(caller, READERS, device, None).map_err(|problem| problem.code);
        let device = caller(&["device"], Some(&["mine"]));
        assert_eq!((writes(&device, &mine), reads(&device, &mine)), (Ok(()), Ok(())));
        assert_eq!(writes(&device, &other), Err(DEVICE_NOT_ALLOWED));
        assert_eq!(reads(&device, &other), Err(DEVICE_NOT_ALLOWED));

        let both = caller(&["device", "user"], Some(&["mine"]));
        assert_eq!(reads(&both, &other), Ok(()));
        assert!(writes(&both, &other).is_err(), "a user does not write");
        assert_eq!(writes(&caller(&["device", "admin"], Some(&["mine"])), &other), Ok(()));
        assert_eq!(writes(&caller(&["device"], None), &other), Ok(()));
        assert!(writes(&caller(&["device"], Some(&[])), &mine).is_err(), "an empty list names none");
    }
}

//! When certificates end.

use super::Page;
use crate::service::Context;

pub(super) fn render(page: &mut Page, context: &Context) {
    let expiries = context.tls.expiries();
    if expiries.is_empty() {
        return;
    }
    page.head(NAME, "gauge", "Seconds until a certificate ends; 0 once it has.");
    for (role, not_after) in expiries {
        let left = u64::try_from(not_after - crate::tls::now()).unwrap_or(0);
        page.line(NAME, &format!("role=\"{role}\""), left);
    }
}

const NAME: &str = "synod_tls_certificate_expiry_seconds";

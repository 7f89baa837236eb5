//! Connections of clients, and requests on their way in.

use std::sync::atomic::Ordering;

use super::{Page, number};
use crate::service::Context;

pub(super) fn render(page: &mut Page, context: &Context) {
    let admission = &context.admission;
    let open = number(admission.open());
    page.gauge("synod_client_connections", "Connections of clients.", open);
    let max = number(admission.connections_max());
    page.gauge("synod_client_connections_max", "How many connections there may be.", max);
    let strangers = number(admission.strangers());
    let name = "synod_client_strangers";
    page.gauge(name, "Connections that have not said a word yet.", strangers);
    let name = "synod_client_connections_refused_total";
    page.head(name, "counter", "Connections closed before their first request.");
    for (reason, count) in admission.refusals() {
        page.line(name, &format!("reason=\"{reason}\""), count);
    }
    let intake = &admission.intake;
    let bytes = number(intake.bytes());
    page.gauge("synod_requests_arriving_bytes", "Bytes of requests that have not ended.", bytes);
    let name = "synod_requests_cut_off_total";
    page.head(name, "counter", "Requests refused before they had ended.");
    let counts = [("no_room", &intake.without_room), ("unfinished", &intake.unfinished)];
    for (reason, count) in counts {
        page.line(name, &format!("reason=\"{reason}\""), count.load(Ordering::Relaxed));
    }
}

//! Names in routes and Contacts: what the system's files say is heeded.

use std::net::Ipv4Addr;

use crate::support::phone::Phone;
use crate::support::pointsman::Setup;

#[test]
fn a_bye_to_a_route_that_is_a_name_of_this_host_arrives_there() {
    let pointsman = Setup::new(1).start();
    let (phone, proxy) = (Phone::new(pointsman.address().ip()), Phone::new(Ipv4Addr::LOCALHOST.into()));
    let route = format!("<sip:localhost:{};lr>", proxy.address().port());
    phone.call(&phone.invite(pointsman.address(), None).with("Record-Route", route), pointsman.address());
    pointsman.ask_to_stop();
    let bye = proxy.expect("our BYE", |message| message.method() == "BYE");
    proxy.answer(&bye, 200);
}

//! Notifications of endpoints, from the command that asks for them to the call agent's answer.

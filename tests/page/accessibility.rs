//! Screen readers and contrast.

use super::browser::*;
use crate::support::*;
use serde_json::json;

#[test]
#[ignore = "needs Chromium; with FULL=1 Firefox and WebKit"]
fn screen_readers_hear_what_matters() {
    in_chromium(async |tab| {
        let server = Server::start().await;
        tab.open(&server.address).await;
        tab.send("my own").await;
        tab.until_last("my own").await;
        for (what, heard) in [
            (
                "getComputedStyle(chat.lastElementChild, '::before').content",
                json!("\"You: \""),
            ),
            (
                "chat.lastElementChild.querySelector('time').ariaHidden",
                json!("true"),
            ),
            ("chat.role", json!("log")),
            ("chat.contains(waiting)", json!(false)),
            ("input.ariaLabel", json!("Message")),
        ] {
            tab.expect(what, heard).await;
        }
    });
}

#[test]
#[ignore = "needs Chromium (with FULL=1 Firefox and WebKit), and AXE, the path of axe-core's axe.min.js"]
fn axe_finds_nothing_in_light_and_in_dark() {
    let axe = std::env::var("AXE").expect("AXE should be the path of axe-core's axe.min.js");
    let axe = std::fs::read_to_string(axe).unwrap();
    in_chromium(async |tab| {
        let server = Server::start().await;
        tab.open(&server.address).await;
        tab.client.execute(&axe, vec![]).await.unwrap();
        finds_nothing(tab, "empty").await;

        let mut other = server.join().await;
        for text in ["of another", " ", &"a long line ".repeat(300)] {
            send(&mut other, text).await;
        }
        tab.send("my own").await;
        tab.until("chat.childElementCount === 4").await;
        server.signal("STOP").await;
        tab.send("on its way").await;
        tab.expect("waiting.childElementCount", json!(1)).await;
        finds_nothing(tab, "waiting").await;

        tab.until("chat.querySelector('.unheard') !== null && state.className === 'lost'")
            .await;
        finds_nothing(tab, "lost").await;
    });
}

async fn finds_nothing(tab: &Tab, when: &str) {
    let run = "const done = arguments[arguments.length - 1];
        axe.run().then((result) => done(result.violations.map((found) => found.id + found.nodes.map((node) => node.html))))";
    for scheme in ["light", "dark"] {
        let sheet = format!(
            "(() => {{
                const sheet = new CSSStyleSheet();
                sheet.replaceSync('* {{ color-scheme: {scheme} !important }}');
                document.adoptedStyleSheets = [sheet];
            }})()"
        );
        tab.ask(&sheet).await;
        tab.until_drawn().await;
        let found = tab.client.execute_async(run, vec![]).await.unwrap();
        assert_eq!(found, json!([]), "{when}, {scheme}");
    }
}

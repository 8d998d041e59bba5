// Where the page of a local server begins.

import { AskForm } from "./ask_form.js";
import { LocalServer } from "./local_server.js";

export function startApp(page) {
  return new AskForm(page.getElementById("app"), new LocalServer("request"));
}

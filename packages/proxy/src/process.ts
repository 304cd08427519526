/** Entry of the proxy process: N threads on the sockets of the master. Started by `startProxy`, never by hand. */
import { runChild } from "@portico/supervisor/child";
import { ProxyProcess } from "./run/proxy-process.ts";

runChild(new ProxyProcess());

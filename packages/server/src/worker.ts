/** Entry of a worker process: tells the supervisor what to call. Everything else is in `worker-runtime.ts`. */
import { runChild } from "@portico/supervisor/child";
import { WorkerRuntime } from "./worker-runtime.ts";

runChild(new WorkerRuntime());

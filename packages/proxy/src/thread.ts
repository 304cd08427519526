/** Entry of a proxy thread: accepts on its descriptors and serves. Started by the proxy process, never by hand. */
import { parentPort, workerData } from "node:worker_threads";
import type { ThreadInit } from "./run/messages.ts";
import { ServingThread } from "./run/serving-thread.ts";

void new ServingThread(workerData as ThreadInit, parentPort!).start();

/**
 * Who of an upstream's servers gets requests at the moment.
 *
 * | state of the servers | who gets requests |
 * | --- | --- |
 * | enough are up | those |
 * | fewer than the `panic` percent are up | all: probes and failures must not put the whole load on the last ones |
 * | none is up, a backup is | the backups that are up |
 * | nothing is up | all, backups too: there is nothing better |
 *
 * Draining servers are never among them. Made anew when something changed; a request only reads it.
 */
import type { Member } from "./member.ts";

export class Roster {
  /** Who gets requests. */
  usable: readonly Member[] = [];
  /** Backups, for the moment in which nothing else can be connected to. */
  spare: readonly Member[] = [];
  /** Servers that are not up are used all the same. */
  panic = false;
  /** Members that rest after failures, and may be tried when their time is over. */
  resting = 0;

  update(members: readonly Member[], panicPercent: number): void {
    const serving = members.filter((member) => !member.draining);
    const first = serving.filter((member) => !member.backup);
    const up = first.filter((member) => member.up);
    const backups = serving.filter((member) => member.backup && member.up);
    this.resting = serving.filter((member) => member.passive.out && member.healthy).length;
    this.spare = [];
    if (up.length === 0) {
      this.panic = backups.length === 0 && serving.length > 0;
      this.usable = this.panic ? serving : backups;
      return;
    }
    this.panic = up.length * 100 < panicPercent * first.length;
    this.usable = this.panic ? first : up;
    this.spare = backups;
  }
}

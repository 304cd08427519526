import { PorticoGatewayError } from "../errors.ts";

/** A breach of the specification that the lint found. */
export interface Breach {
  /** Number of the sentence in docs/spec/tsgi.md. */
  readonly rule: string;
  /** Who broke it. */
  readonly by: "application" | "host";
  readonly message: string;
}

/** Gathers breaches and tells of them. */
export class BreachBook {
  readonly breaches: Breach[] = [];
  readonly #report: (breach: Breach) => void;

  constructor(report: (breach: Breach) => void) {
    this.#report = report;
  }

  /** Notes a breach where `kept` is false. Gives `kept` back. */
  check(kept: boolean, rule: string, by: Breach["by"], message: string): boolean {
    if (!kept) {
      const breach = { rule, by, message };
      this.breaches.push(breach);
      this.#report(breach);
    }
    return kept;
  }

  /** As `check`, from where nobody could catch what the report throws: a late breach is then only in the book. */
  note(kept: boolean, rule: string, by: Breach["by"], message: string): void {
    try {
      this.check(kept, rule, by, message);
    } catch (error) {
      if (!(error instanceof PorticoGatewayError)) throw error;
    }
  }
}

/** Reports by throwing: in the application's call, a breach then becomes the failure of its request. */
export function throwBreach({ rule, by, message }: Breach): never {
  throw new PorticoGatewayError("LINT", `${rule} broken by the ${by}: ${message}`, { rule });
}

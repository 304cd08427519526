import { Accounts } from "./accounts.ts";
import { Chat } from "./chat.ts";
import { openDatabase } from "./database.ts";
import { Events } from "./events.ts";
import { Images } from "./images.ts";
import { Notices } from "./notices.ts";
import type { Board } from "./setting.ts";

/** All that handlers use, over one data folder. */
export function openBoard(folder: string): Board {
  const database = openDatabase(folder);
  const events = new Events(database);
  const chat = new Chat(database, events);
  return {
    accounts: new Accounts(database),
    notices: new Notices(database, events),
    images: new Images(folder),
    events,
    chat,
    close: () => {
      chat.close();
      events.close();
      database.close();
    },
  };
}

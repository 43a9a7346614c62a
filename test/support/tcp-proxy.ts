/**
 * Owns a TCP relay in front of a broker that advertises the relay's port: a test changes what passes, sees each request,
 * holds everything back for a while, or cuts all connections. It knows nothing of Kafka but the length at the beginning
 * of requests and answers, and the key of a request.
 */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

const HEARTBEAT = 12;
/** How long a broker may take for the late requests of a client that is gone. */
const LATE_REQUESTS_MS = 2_000;

/** What does not get through: everything; heartbeats, with what follows them on their connection; or answers alone. */
export type Held = 'everything' | 'heartbeats' | 'answers';

export class TcpProxy {
  readonly port: number;
  /** Where new connections lead; without one they are accepted and never answered. */
  target: number | undefined;
  /** Changes a whole answer's bytes. */
  onAnswer: (bytes: Buffer) => Buffer = (bytes) => bytes;
  /**
   * Told of each request by its api key. `false`: it is swallowed, as every answer on the connection from then on; `cut`: it
   * is, and the connection ends; `unanswered`: it passes, and the connection ends instead of its answer.
   */
  onRequest: (apiKey: number, request: Buffer) => boolean | 'cut' | 'unanswered' = () => true;
  /** Api keys of the requests that were held, or whose answers were the first to be held. */
  readonly held: number[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #relays = new Set<Relay>();
  #hold: { readonly what: Held; readonly behind: number | undefined; closed: boolean } | undefined;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
    server.on('connection', (socket) => {
      this.#relay(socket);
    });
  }

  static async listen(port: number): Promise<TcpProxy> {
    const server = createServer();
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
    server.unref();
    return new TcpProxy(server, port);
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** From now on, or from the next request with the api key `behind`: that one passes, and its answer does not. */
  hold(what: Held, behind?: number): void {
    this.#hold = { what, behind, closed: behind === undefined };
  }

  /** All that was held goes its way, in its order: requests also where the client has given up waiting meanwhile. */
  release(): void {
    this.#hold = undefined;
    for (const relay of this.#relays) relay.flush();
  }

  /** For relays. */
  holdsRequest(apiKey: number): boolean {
    const hold = this.#hold;
    if (hold?.closed !== true || hold.what === 'answers') return false;
    return hold.what === 'everything' || apiKey === HEARTBEAT;
  }

  /** For relays. */
  holdsAnswers(): boolean {
    return this.#hold?.closed === true && this.#hold.what !== 'heartbeats';
  }

  /** For relays: a request is on its way. */
  passed(apiKey: number): void {
    const hold = this.#hold;
    if (hold === undefined || hold.closed || hold.behind !== apiKey) return;
    hold.closed = true;
    this.held.push(apiKey);
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async close(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #relay(client: Socket): void {
    this.#keep(client);
    const { target } = this;
    if (target === undefined) return;
    const broker = connect(target, '127.0.0.1');
    this.#keep(broker);
    const relay = new Relay(this, client, broker);
    this.#relays.add(relay);
    for (const socket of [client, broker])
      socket.on('close', () => {
        if (relay.isOver) this.#relays.delete(relay);
      });
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    // Its close follows, and says all that a relay has to know.
    socket.on('error', () => undefined);
  }
}

/** One connection of a client, with the one to the broker that belongs to it. */
class Relay {
  readonly #proxy: TcpProxy;
  readonly #client: Socket;
  readonly #broker: Socket;
  readonly #requests: Buffer[] = [];
  readonly #answers: Buffer[] = [];
  #isSwallowing = false;
  #endsWithAnswer = false;

  constructor(proxy: TcpProxy, client: Socket, broker: Socket) {
    this.#proxy = proxy;
    this.#client = client;
    this.#broker = broker;
    eachMessage(client, (request) => {
      this.#request(request);
    });
    eachMessage(broker, (answer) => {
      this.#answer(answer);
    });
    client.on('close', () => {
      if (this.#requests.length === 0) broker.destroy();
    });
    broker.on('close', () => {
      if (this.#answers.length === 0) client.destroy();
    });
  }

  get isOver(): boolean {
    return this.#client.destroyed && this.#broker.destroyed;
  }

  flush(): void {
    const requests = this.#requests.splice(0);
    if (!this.#broker.destroyed) for (const request of requests) this.#broker.write(request);
    if (this.#client.destroyed) {
      this.#answers.length = 0;
      setTimeout(() => this.#broker.destroy(), LATE_REQUESTS_MS).unref();
      return;
    }
    for (const answer of this.#answers.splice(0)) this.#client.write(this.#proxy.onAnswer(answer));
    if (this.#broker.destroyed) this.#client.end();
  }

  #request(request: Buffer): void {
    const apiKey = request.readInt16BE(4);
    const fate = this.#proxy.onRequest(apiKey, request);
    if (fate === false) this.#isSwallowing = true;
    if (fate === 'unanswered') this.#endsWithAnswer = true;
    if (fate === 'cut') this.#client.destroy();
    if (fate === 'cut' || this.#isSwallowing) return;
    if (this.#requests.length > 0 || this.#proxy.holdsRequest(apiKey)) {
      this.#requests.push(request);
      this.#proxy.held.push(apiKey);
      return;
    }
    this.#broker.write(request);
    this.#proxy.passed(apiKey);
  }

  #answer(answer: Buffer): void {
    if (this.#endsWithAnswer) this.#client.destroy();
    if (this.#isSwallowing || this.#endsWithAnswer) return;
    if (this.#answers.length > 0 || this.#proxy.holdsAnswers()) this.#answers.push(answer);
    else this.#client.write(this.#proxy.onAnswer(answer));
  }
}

/** Requests and answers alike begin with their length. */
function eachMessage(socket: Socket, take: (message: Buffer) => void): void {
  let waiting: Buffer = Buffer.alloc(0);
  socket.on('data', (bytes: Buffer) => {
    waiting = waiting.length === 0 ? bytes : Buffer.concat([waiting, bytes]);
    while (waiting.length >= 4 && waiting.length >= 4 + waiting.readInt32BE(0)) {
      const end = 4 + waiting.readInt32BE(0);
      take(waiting.subarray(0, end));
      waiting = waiting.subarray(end);
    }
  });
}

/**
 * Owns a TCP relay in front of a broker that advertises the relay's port: a test changes what passes, sees each request,
 * or cuts all connections. It knows nothing of Kafka but the length and the key at the beginning of a request.
 */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

export class TcpProxy {
  readonly port: number;
  /** Where new connections lead; without one they are accepted and never answered. */
  target: number | undefined;
  /** Changes an answer's bytes; parts of answers, as they come. */
  onAnswer: (bytes: Buffer) => Buffer = (bytes) => bytes;
  /** Told of each request by its api key; false: it is swallowed, as every answer on the connection from then on. */
  onRequest: (apiKey: number, request: Buffer) => boolean = () => true;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

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
    let isSwallowing = false;
    let waiting = Buffer.alloc(0);
    client.on('data', (bytes: Buffer) => {
      waiting = Buffer.concat([waiting, bytes]);
      while (waiting.length >= 6 && waiting.length >= 4 + waiting.readInt32BE(0)) {
        const end = 4 + waiting.readInt32BE(0);
        const request = waiting.subarray(0, end);
        waiting = waiting.subarray(end);
        if (!this.onRequest(request.readInt16BE(4), request)) isSwallowing = true;
        if (!isSwallowing) broker.write(request);
      }
    });
    broker.on('data', (bytes: Buffer) => {
      if (!isSwallowing) client.write(this.onAnswer(bytes));
    });
    client.on('close', () => broker.destroy());
    broker.on('close', () => client.destroy());
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    // Its close follows, and says all that a relay has to know.
    socket.on('error', () => undefined);
  }
}

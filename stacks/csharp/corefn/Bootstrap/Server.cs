using System;
using System.Collections.Generic;
using System.Net;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;
using Mono.Unix;
using Mono.Unix.Native;

namespace CoreFn.Bootstrap
{
    /// <summary>
    /// Serves HTTP/1.1 (RFC 9112) to one proxy. (Mono's own listener refuses a POST without a length, which nginx passes on
    /// as it comes, and closes connections that are idle for 15 s, whoever is about to use them.)
    /// </summary>
    public sealed class Server
    {
        const int Backlog = 512;

        /// <summary>Milliseconds until it is tried again when no connection could be accepted.</summary>
        const int Pause = 100;

        readonly Func<Request, Task<Answer>> handler;
        readonly HashSet<Connection> connections = new HashSet<Connection>();
        volatile bool ending;

        Server(Func<Request, Task<Answer>> handler)
        {
            this.handler = handler;
        }

        /// <summary>Serves until SIGTERM or SIGINT, and then finishes what it has begun.</summary>
        public static void Serve(Func<Request, Task<Answer>> handler, int port)
        {
            var signals = new[] { new UnixSignal(Signum.SIGTERM), new UnixSignal(Signum.SIGINT) };
            var server = new Server(handler);
            var listener = new TcpListener(IPAddress.Any, port);
            listener.Start(Backlog);
            Task.Run(() => server.Accept(listener)).ContinueWith(End, TaskContinuationOptions.OnlyOnFaulted);
            UnixSignal.WaitAny(signals);
            server.Finish(listener);
        }

        async Task Accept(TcpListener listener)
        {
            while (true)
            {
                Socket socket;
                try
                {
                    socket = await listener.AcceptSocketAsync();
                }
                catch (Exception) when (ending)
                {
                    return;
                }
                catch (SocketException)
                {
                    // Such as too many open files: those that close make room.
                    await Task.Delay(Pause);
                    continue;
                }
                var connection = new Connection(socket, handler);
                lock (connections)
                {
                    if (ending)
                    {
                        connection.Close();
                        continue;
                    }
                    connections.Add(connection);
                }
                Task.Run(() => Run(connection)).Forget();
            }
        }

        async Task Run(Connection connection)
        {
            try
            {
                await connection.Run();
            }
            catch (Exception)
            {
                // All that can fail there is the connection: nobody reads the answer.
            }
            connection.Close();
            lock (connections)
            {
                connections.Remove(connection);
                Monitor.PulseAll(connections);
            }
        }

        void Finish(TcpListener listener)
        {
            lock (connections)
            {
                ending = true;
                listener.Stop();
                foreach (var connection in connections)
                {
                    connection.End();
                }
                while (connections.Count > 0)
                {
                    Monitor.Wait(connections);
                }
            }
        }

        // An instance that takes no connections any more must not look like one that does.
        static void End(Task accepting)
        {
            Console.Error.WriteLine(accepting.Exception);
            Environment.Exit(1);
        }
    }

    static class Tasks
    {
        /// <summary>Says that nobody waits for it.</summary>
        public static void Forget(this Task task)
        {
        }
    }
}

using System;
using System.Collections.Generic;
using System.Reflection;
using System.Threading;
using System.Threading.Tasks;
using Newtonsoft.Json;

namespace CoreFn.Bootstrap
{
    /// <summary>Answers requests with what exports return.</summary>
    public sealed class Handler
    {
        const string Text = "text/plain; charset=utf-8";
        const string Json = "application/json";

        readonly IDictionary<string, Export> exports;
        int underWay;

        public Handler(IDictionary<string, Export> exports)
        {
            this.exports = exports;
        }

        public async Task<Answer> Answer(Request request)
        {
            try
            {
                Export export;
                if (!exports.TryGetValue(Name(request.Target), out export))
                {
                    return new Answer(404, Text, "There is no such function\n");
                }
                return Returned(await Call(export, request.Body));
            }
            catch (BadArgument wrong)
            {
                return new Answer(400, Text, "The body isn't the function's argument: " + wrong.Message);
            }
            catch (Exception failed)
            {
                var cause = (failed as TargetInvocationException)?.InnerException ?? failed;
                Console.Error.WriteLine(cause);
                return new Answer(500, Text, string.IsNullOrEmpty(cause.Message) ? cause.GetType().Name : cause.Message);
            }
        }

        async Task<object> Call(Export export, byte[] body)
        {
            try
            {
                if (Interlocked.Increment(ref underWay) == 1)
                {
                    return await export.Call(body);
                }
                // More of them may wait than the pool has threads, and it makes new ones slowly.
                var call = Task.Factory.StartNew(
                    () => export.Call(body), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
                return await await call;
            }
            finally
            {
                Interlocked.Decrement(ref underWay);
            }
        }

        static string Name(string target)
        {
            var path = target.Split('?')[0];
            return Uri.UnescapeDataString(path.StartsWith("/") ? path.Substring(1) : path);
        }

        static Answer Returned(object value)
        {
            if (value == null)
            {
                return new Answer(204, null, "");
            }
            var text = value as string;
            return text != null ? new Answer(200, Text, text) : new Answer(200, Json, JsonConvert.SerializeObject(value));
        }
    }
}

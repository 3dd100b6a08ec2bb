using System;
using System.Collections;
using System.Collections.Generic;
using System.Linq;
using System.Reflection;
using Newtonsoft.Json.Linq;

namespace CoreFn.Bootstrap
{
    /// <summary>Makes a value of a type as JSON has it, to be shown to people.</summary>
    public static class Example
    {
        const int MaxDepth = 3;

        static readonly Type[] Whole =
        {
            typeof(byte), typeof(sbyte), typeof(short), typeof(ushort), typeof(int), typeof(uint), typeof(long), typeof(ulong),
        };

        static readonly Type[] Broken = { typeof(float), typeof(double), typeof(decimal) };

        public static object Of(Type type, int depth = 0)
        {
            type = Nullable.GetUnderlyingType(type) ?? type;
            if (Whole.Contains(type))
            {
                return 1;
            }
            if (Broken.Contains(type))
            {
                return 1.5;
            }
            if (type == typeof(string) || type == typeof(char))
            {
                return "text";
            }
            if (type == typeof(bool))
            {
                return true;
            }
            if (type.IsEnum)
            {
                return Enum.GetNames(type).FirstOrDefault();
            }
            if (type == typeof(DateTime) || type == typeof(DateTimeOffset))
            {
                return "2026-01-01T00:00:00Z";
            }
            if (IsObject(type))
            {
                return new Dictionary<string, object>();
            }
            if (typeof(IEnumerable).IsAssignableFrom(type))
            {
                return new object[0];
            }
            return depth == MaxDepth ? null : Members(type, depth);
        }

        // Both are sequences as well, for C#.
        static bool IsObject(Type type)
        {
            if (typeof(JToken).IsAssignableFrom(type))
            {
                return type != typeof(JArray);
            }
            var interfaces = type.GetInterfaces().Concat(new[] { type });
            return interfaces.Any(one => one.IsGenericType && one.GetGenericTypeDefinition() == typeof(IDictionary<,>));
        }

        static object Members(Type type, int depth)
        {
            const BindingFlags visible = BindingFlags.Public | BindingFlags.Instance;
            var members = new Dictionary<string, object>();
            foreach (var property in type.GetProperties(visible).Where(property => property.GetSetMethod() != null))
            {
                members[property.Name] = Of(property.PropertyType, depth + 1);
            }
            foreach (var field in type.GetFields(visible).Where(field => !field.IsInitOnly))
            {
                members[field.Name] = Of(field.FieldType, depth + 1);
            }
            return members;
        }
    }
}
